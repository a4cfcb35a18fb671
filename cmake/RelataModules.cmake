# Modules: shared objects that relatad loads. They see relata_module.h alone, as
# anybody's do.

install(FILES layers/module/relata_module.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

# relata_module(TARGET SOURCE FOLDER): FOLDER/<name of the source>.so
function(relata_module target source folder)
    cmake_path(GET source STEM name)
    add_library(${target} MODULE ${source})
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/layers/module")
    set_target_properties(${target} PROPERTIES
                          PREFIX "" OUTPUT_NAME ${name}
                          LIBRARY_OUTPUT_DIRECTORY "${folder}")
endfunction()

# The guide's.
relata_module(example_tickets_above_threshold examples/helpdesk/tickets_above_threshold.c
              "${PROJECT_BINARY_DIR}/lib/relata")
