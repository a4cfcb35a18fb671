# How folders become libraries and programs.

# relata_sources(OUT (GLOB|GLOB_RECURSE) PATTERN... [EXCLUDE FILE...])
function(relata_sources out)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "GLOB;GLOB_RECURSE;EXCLUDE")
    set(sources "")
    if(arg_GLOB)
        file(GLOB found CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}" ${arg_GLOB})
        list(APPEND sources ${found})
    endif()
    if(arg_GLOB_RECURSE)
        file(GLOB_RECURSE found CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}"
             ${arg_GLOB_RECURSE})
        list(APPEND sources ${found})
    endif()
    if(arg_EXCLUDE)
        list(REMOVE_ITEM sources ${arg_EXCLUDE})
    endif()
    set(${out} ${sources} PARENT_SCOPE)
endfunction()

# relata_library(NAME (GLOB|GLOB_RECURSE) PATTERN... [EXCLUDE FILE...] [LINK LIB...]):
# a static library of what is there; without sources, only what it links.
function(relata_library name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "GLOB;GLOB_RECURSE;EXCLUDE;LINK")
    relata_sources(sources GLOB ${arg_GLOB} GLOB_RECURSE ${arg_GLOB_RECURSE}
                   EXCLUDE ${arg_EXCLUDE})
    if(sources)
        add_library(${name} STATIC ${sources})
        target_link_libraries(${name} PUBLIC ${arg_LINK})
        # Internal archives stay out of lib/, which holds what is installed.
        set_target_properties(${name} PROPERTIES
                              ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/internal")
        if(RELATA_IPO)
            # Fat objects: programs that ship are optimised across modules,
            # tests link the ordinary code in them and stay quick to build.
            target_compile_options(${name} PRIVATE -flto=auto -ffat-lto-objects)
        endif()
    else()
        add_library(${name} INTERFACE)
        target_link_libraries(${name} INTERFACE ${arg_LINK})
    endif()
endfunction()

# relata_executable(NAME SOURCES FILE... [LINK LIB...]): an installed program,
# left out while its sources are not there.
function(relata_executable name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LINK")
    relata_sources(sources GLOB ${arg_SOURCES})
    if(NOT sources)
        return()
    endif()
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE ${arg_LINK})
    if(RELATA_IPO)
        target_compile_options(${name} PRIVATE -flto=auto -ffat-lto-objects)
        target_link_options(${name} PRIVATE -flto=auto)
    endif()
    install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endfunction()
