# What Relata stands on, each under one name of ours. The reasons are in
# docs/decisions/dependencies.md, the Debian packages in scripts/deps.

find_package(PkgConfig REQUIRED)

# relata_dependency(NAME MODULE): a pkg-config module as the target relata::NAME.
function(relata_dependency name module)
    pkg_check_modules(relata_${name} QUIET IMPORTED_TARGET ${module})
    if(NOT relata_${name}_FOUND)
        message(FATAL_ERROR "${module} is missing: run scripts/deps test"
                            " (or scripts/deps build, and configure with -DRELATA_TESTS=OFF)")
    endif()
    add_library(relata_dependency_${name} INTERFACE)
    target_link_libraries(relata_dependency_${name} INTERFACE PkgConfig::relata_${name})
    add_library(relata::${name} ALIAS relata_dependency_${name})
endfunction()

relata_dependency(uv libuv)
relata_dependency(yaml yaml-0.1)
relata_dependency(xxhash libxxhash)
relata_dependency(jansson jansson)
relata_dependency(edit libedit)
if(RELATA_TESTS)
    relata_dependency(cmocka cmocka)
    relata_dependency(msgpack msgpack)
    relata_dependency(sqlite sqlite3)
endif()
