# The few commands one types; CMake does the work (CMakePresets.json).
# demo, demo-redis and test are whole: they install what is missing, build, and run.

JOBS ?= 2
FUZZ_SECONDS ?= 30
PREFIX ?= /usr/local
CMAKE = CMAKE_GENERATOR="$$(command -v ninja >/dev/null && echo Ninja || echo Unix Makefiles)" cmake

.PHONY: deps build demo demo-redis test check bench install clean
.DEFAULT_GOAL := build

# All that building and testing needs; the others install what they need of it.
deps:
	@scripts/deps test

build:
	@scripts/deps build
	$(CMAKE) --preset release -DRELATA_TESTS=OFF -DCMAKE_INSTALL_PREFIX="$(PREFIX)"
	cmake --build --preset release --parallel $(JOBS)

demo: build
	@examples/helpdesk/demo

demo-redis: build
	@scripts/deps redis
	@examples/helpdesk/demo-redis

test:
	@scripts/deps test
	@JOBS=$(JOBS) FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/run-tests

check:
	@scripts/deps check
	@JOBS=$(JOBS) scripts/check

bench: build
	@scripts/deps bench
	@if [ -x bench/run ]; then bench/run; else ls build/bin/*bench*; fi

install: build
	DESTDIR="$(DESTDIR)" cmake --install build --prefix "$(PREFIX)"

clean:
	rm -rf build build-dev build-asan build-tsan build-clang build-fuzz
