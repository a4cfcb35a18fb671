# Tests by place and name; the labels say which kind: unit, integration,
# regression, style, fuzz.

set(relata_test_timeout_s 120)
set(relata_python /usr/bin/python3)  # Debian's, where python3-msgpack and python3-pynvim are
set(relata_lua lua5.1)

set(relata_test_environment
    "RELATAD=${PROJECT_BINARY_DIR}/bin/relatad"
    "RELATA=${PROJECT_BINARY_DIR}/bin/relata"
    "RELATA_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
    "RELATA_BUILD_DIR=${PROJECT_BINARY_DIR}"
    "RELATA_SANITIZE=${RELATA_SANITIZE}"
    "PYTHONDONTWRITEBYTECODE=1"
    "PYTHONPATH=${PROJECT_SOURCE_DIR}/tests/lib"
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1")

set(relata_everything relata_daemon relata_cli_base relata_client)
# The libraries' objects carry both forms; without this, every test would be
# optimised as a whole anew when it is linked.
add_library(relata_quick_link INTERFACE)
if(RELATA_IPO)
    target_link_options(relata_quick_link INTERFACE -fno-lto)
endif()
relata_library(relata_test_base GLOB tests/lib/*.c
               LINK ${relata_everything} relata::cmocka relata::sqlite relata::msgpack m)

# relata_test(NAME LABEL COMMAND...)
function(relata_test name label)
    add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY "${PROJECT_BINARY_DIR}")
    set_tests_properties(${name} PROPERTIES
                         LABELS ${label}
                         TIMEOUT ${relata_test_timeout_s}
                         ENVIRONMENT "${relata_test_environment}")
endfunction()

# relata_test_folder(LABEL [LINK LIB...]): tests/LABEL/test_*.{c,py,lua}.
function(relata_test_folder label)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LINK")
    relata_sources(sources GLOB tests/${label}/test_*.c)
    foreach(source IN LISTS sources)
        cmake_path(GET source STEM name)
        if(NOT label STREQUAL "unit")
            set(name ${label}_${name})
        endif()
        add_executable(${name} ${source})
        target_link_libraries(${name} PRIVATE ${arg_LINK} relata_test_base relata_quick_link)
        set_target_properties(${name} PROPERTIES
                              RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/tests")
        relata_test(${name} ${label} ${name})
    endforeach()

    relata_sources(scripts GLOB tests/${label}/test_*.py tests/${label}/test_*.lua)
    foreach(script IN LISTS scripts)
        cmake_path(GET script FILENAME name)
        cmake_path(GET script EXTENSION kind)
        set(interpreter ${relata_python})
        if(kind STREQUAL ".lua")
            set(interpreter ${relata_lua})
        endif()
        relata_test(${label}_${name} ${label} ${interpreter} "${PROJECT_SOURCE_DIR}/${script}")
    endforeach()
endfunction()

set(relata_shared "")
if(TARGET librelata)
    set(relata_shared librelata)
endif()
# Modules that tests load: each file is one.
relata_sources(modules GLOB tests/modules/*.c)
foreach(source IN LISTS modules)
    cmake_path(GET source STEM name)
    relata_module(module_${name} ${source} "${PROJECT_BINARY_DIR}/tests/modules")
endforeach()

relata_test_folder(unit)
relata_test_folder(integration LINK ${relata_shared})
relata_test_folder(regression LINK ${relata_shared})

# The same tests with the records in Redis (tests/lib/layers.py).
foreach(what IN ITEMS cache coalescing guide layers_random loaders modules python_providers remote
                      remote_keys remote_reload server sqlite types)
    foreach(variant IN ITEMS redis redis-resident mixed)
        if(NOT variant STREQUAL "mixed" OR what MATCHES "layers_random|loaders|sqlite")
            relata_test(integration_test_${what}_${variant} integration ${relata_python}
                        "${PROJECT_SOURCE_DIR}/tests/lib/layers.py" ${variant} test_${what})
        endif()
    endforeach()
endforeach()

# Fuzzers: with libFuzzer they search, in every other build the same targets
# replay their corpus as an ordinary test.
relata_sources(fuzzers GLOB tests/fuzz/fuzz_*.c)
foreach(source IN LISTS fuzzers)
    cmake_path(GET source STEM name)
    string(REGEX REPLACE "^fuzz_" "" corpus ${name})
    if(RELATA_FUZZ)
        add_executable(${name} ${source})
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(${name} ${source} tests/fuzz/replay.c)
        relata_test(${name} fuzz ${name} "${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${corpus}")
    endif()
    target_link_libraries(${name} PRIVATE ${relata_everything} relata_quick_link m)
    set_target_properties(${name} PROPERTIES
                          RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/fuzz")
endforeach()

relata_test(style_check style ${relata_python} "${PROJECT_SOURCE_DIR}/tests/style/check.py")
relata_test(style_headers style ${relata_python} "${PROJECT_SOURCE_DIR}/tests/style/headers.py")
if(TARGET librelata)
    relata_test(style_exports style
                ${relata_python} "${PROJECT_SOURCE_DIR}/tests/style/exports.py"
                "$<TARGET_FILE:librelata>" "${relata_archive}")
endif()
