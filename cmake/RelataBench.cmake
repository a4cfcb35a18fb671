# Each bench/bench_*.c is a program of its own in bin/, bench/relata_bench.c is
# relata-bench; everything else in bench/ is shared by them.

relata_sources(relata_bench_mains GLOB bench/bench_*.c bench/relata_bench.c)
relata_library(relata_bench_base GLOB bench/*.c EXCLUDE ${relata_bench_mains}
               LINK relata_client relata_daemon relata::jansson m)

foreach(source IN LISTS relata_bench_mains)
    cmake_path(GET source STEM name)
    if(name STREQUAL "relata_bench")
        set(name relata-bench)
    endif()
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE relata_bench_base)
    if(RELATA_IPO)
        target_compile_options(${name} PRIVATE -flto=auto -ffat-lto-objects)
        target_link_options(${name} PRIVATE -flto=auto)
    endif()
endforeach()
