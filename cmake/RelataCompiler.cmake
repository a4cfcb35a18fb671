# Language, warnings, optimisation and sanitizers, for gcc and clang.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
# One set of objects serves programs and tests; with hidden symbols, position
# independent code costs nothing that was measured.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)

# CHECK() stays in release, and so does assert(): no NDEBUG.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g")

add_compile_definitions(_GNU_SOURCE RELATA_VERSION="${PROJECT_VERSION}")
add_compile_options(-fno-common)
add_link_options(-Wl,--as-needed)
include_directories("${PROJECT_SOURCE_DIR}")

add_compile_options(
    -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wold-style-definition -Wvla -Wformat=2 -Wnull-dereference -Wundef -Wpointer-arith
    -Wwrite-strings -Wcast-qual -Wimplicit-fallthrough -Wswitch)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wduplicated-cond -Wduplicated-branches -Wlogical-op)
else()
    add_compile_options(-Wno-string-conversion)  # CHECK(!"why this cannot be")
endif()
if(RELATA_WERROR)
    add_compile_options(-Werror)
endif()

set(relata_sanitizers "${RELATA_SANITIZE}")
if(RELATA_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "RELATA_FUZZ needs clang: cmake --preset fuzz")
    endif()
    list(APPEND relata_sanitizers fuzzer-no-link)
    list(JOIN relata_sanitizers "," relata_sanitizers)
endif()

if(relata_sanitizers)
    add_compile_options(-fsanitize=${relata_sanitizers} -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${relata_sanitizers})
    if(relata_sanitizers MATCHES "undefined")
        add_compile_options(-fno-sanitize-recover=all)
    endif()
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        # Instrumented code confuses gcc's flow analysis into false alarms
        # (gcc bug 105523 and its like); the other builds keep the warning.
        add_compile_options(-Wno-null-dereference -Wno-maybe-uninitialized)
    endif()
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
    add_compile_options(-fstack-protector-strong -D_FORTIFY_SOURCE=2)
    add_link_options(-Wl,-z,relro,-z,now)
    include(CheckIPOSupported)
    check_ipo_supported(RESULT relata_ipo OUTPUT relata_ipo_why LANGUAGES C)
    if(relata_ipo)
        # For what ships; tests and benchmarks' helpers link too often for it.
        # Fat objects are gcc's; clang builds go without.
        if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
            set(RELATA_IPO ON)
        endif()
    else()
        message(STATUS "link time optimisation is off: ${relata_ipo_why}")
    endif()
endif()
