# librelata, shared and static, for programs outside of this tree.
#
# The protocol is compiled into it. Only relata_* leaves it: in the shared
# library by visibility and a version script, in the static one by joining all
# objects into one and making every hidden symbol local to it, so that a
# program which links librelata.a may have a buffer_append of its own.

relata_sources(relata_client_sources
               GLOB clients/c/*.c protocol/*.c protocol/base/*.c protocol/msgpack/*.c)
relata_sources(relata_client_own GLOB clients/c/*.c)
if(NOT relata_client_own)
    return()
endif()

# xxhash keeps its state in the caller and is inlined, so that no user of
# librelata needs it.
add_library(relata_client_objects OBJECT ${relata_client_sources})
target_link_libraries(relata_client_objects PUBLIC relata::uv relata::xxhash)
target_compile_options(relata_client_objects PRIVATE -ffunction-sections -fdata-sections)

add_library(librelata SHARED $<TARGET_OBJECTS:relata_client_objects>)
target_link_libraries(librelata PUBLIC relata::uv PRIVATE relata::xxhash)
target_link_options(librelata PRIVATE
                    "-Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/relata.map"
                    -Wl,--gc-sections)
if(NOT RELATA_SANITIZE AND NOT RELATA_FUZZ)
    target_link_options(librelata PRIVATE -Wl,-z,defs)
endif()
set_target_properties(librelata PROPERTIES
                      OUTPUT_NAME relata
                      VERSION ${PROJECT_VERSION}
                      SOVERSION ${PROJECT_VERSION_MAJOR}
                      LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/relata.map")

set(relata_archive "${PROJECT_BINARY_DIR}/lib/librelata.a")
set(relata_joined "${PROJECT_BINARY_DIR}/internal/librelata.o")
add_custom_command(
    OUTPUT "${relata_archive}"
    COMMAND ${CMAKE_COMMAND} -E make_directory "${PROJECT_BINARY_DIR}/internal"
    COMMAND ${CMAKE_LINKER} -r -o "${relata_joined}" $<TARGET_OBJECTS:relata_client_objects>
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden "${relata_joined}"
    COMMAND ${CMAKE_COMMAND} -E rm -f "${relata_archive}"
    COMMAND ${CMAKE_AR} rcs "${relata_archive}" "${relata_joined}"
    DEPENDS relata_client_objects $<TARGET_OBJECTS:relata_client_objects>
    COMMENT "Joining librelata.a"
    COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(librelata_static ALL DEPENDS "${relata_archive}")

configure_file(cmake/relata.pc.in "${PROJECT_BINARY_DIR}/lib/pkgconfig/relata.pc" @ONLY)

install(TARGETS librelata LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES "${relata_archive}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES clients/c/relata.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(FILES "${PROJECT_BINARY_DIR}/lib/pkgconfig/relata.pc"
        DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
