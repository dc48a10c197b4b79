# The commands of the project. Each installs what it needs, configures, builds and
# runs; `make demo` and `make test` are all that a newcomer has to know.
.PHONY: demo test build dev asan tsan valgrind coverage clang fuzz bench lint format deps install deb static clean help

CCACHE := $(shell command -v ccache 2>/dev/null)
LAUNCHER := $(if $(CCACHE),-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
CONFIGURE = cmake --preset $(1) $(LAUNCHER) --log-level=WARNING >build/$(1).log 2>&1 || { cat build/$(1).log; exit 1; }
# Configuring is said only when it fails; building prints its own progress.
define BUILD
	@mkdir -p build
	@$(call CONFIGURE,$(1))
	@cmake --build --preset $(1) $(2)
endef

INSTALLED := --target weightbridge weightbridge_library sbom

help:
	@echo 'make demo    convert samples/tiny to every target and show the account'
	@echo 'make test    build and run every test'
	@echo 'make build   the program alone, in build/release/src/cli/weightbridge'
	@echo 'make asan    every test under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make tsan    the short form of the suite under ThreadSanitizer'
	@echo 'make valgrind  the same under valgrind'
	@echo 'make coverage  which lines of the readers and writers no test reaches (docs/coverage.md)'
	@echo 'make clang   build and test with clang 14'
	@echo 'make lint    clang-format and clang-tidy, no finding allowed'
	@echo 'make format  let clang-format rewrite what it would change'
	@echo 'make bench   speed, against cp, PyTorch, MLX and what the machine allows'
	@echo 'make fuzz    build the fuzzers and run each for SECONDS=60, JOBS=2 at a time'
	@echo 'make install PREFIX=/usr/local'
	@echo 'make deb     Debian packages in build/release, installed and run in a fresh Debian'
	@echo 'make static  a program that needs the C library alone, in build/static/src/cli'

demo:
	@tools/install_deps.sh build
	$(call BUILD,release,--target weightbridge)
	@tools/demo.sh build/release/src/cli/weightbridge

test:
	@tools/install_deps.sh build test
	$(call BUILD,release)
	@ctest --preset release

build:
	@tools/install_deps.sh build
	$(call BUILD,release,--target weightbridge)

dev:
	@tools/install_deps.sh build test bench
	$(call BUILD,dev)

asan:
	@tools/install_deps.sh build test
	$(call BUILD,asan)
	@ctest --preset asan

tsan:
	@tools/install_deps.sh build test
	$(call BUILD,tsan)
	@TSAN_OPTIONS=halt_on_error=1 ctest --preset tsan -C Short -L short

# valgrind knows no AVX-512; OpenBLAS picks its kernels by itself.
valgrind:
	@tools/install_deps.sh build test check
	$(call BUILD,release)
	@WB_RUNNER='valgrind -q --error-exitcode=99 --vex-iropt-register-updates=allregs-at-mem-access --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite' \
	  WEIGHTBRIDGE_SIMD=AVX2 OPENBLAS_CORETYPE=Haswell ctest --preset release -C Short -L short

coverage:
	@tools/install_deps.sh build test check
	$(call BUILD,coverage)
	@tools/coverage.sh build/coverage

clang:
	@tools/install_deps.sh build test lint
	$(call BUILD,clang)
	@ctest --preset clang

# Of each fuzzer: how long, how many at a time, which (all), and where the log goes (nowhere).
SECONDS = 60
JOBS = 2
fuzz:
	@tools/install_deps.sh build fuzz
	$(call BUILD,fuzz)
	@tools/fuzz.py replay --jobs $(JOBS) $(TARGETS)
	@tools/fuzz.py run --seconds $(SECONDS) --jobs $(JOBS) $(if $(SEED),--seed $(SEED)) $(if $(LOG),--log $(LOG)) $(TARGETS)

bench:
	@tools/install_deps.sh build test bench
	$(call BUILD,dev)
	@bench/run.sh

lint:
	@tools/install_deps.sh build test lint
	@tools/lint.sh

format:
	@tools/install_deps.sh lint
	@tools/lint.sh --fix

deps:
	@tools/install_deps.sh build test lint bench

PREFIX ?= /usr/local
install:
	@tools/install_deps.sh build
	$(call BUILD,release,$(INSTALLED))
	@cmake --install build/release --prefix "$(PREFIX)"

deb:
	@tools/install_deps.sh build package
	$(call BUILD,release,$(INSTALLED))
	@cd build/release && cpack --config CPackConfig.cmake
	@tools/check_deb.sh build/release

static:
	@tools/install_deps.sh build package
	@tools/static_deps.sh build/static-deps
	$(call BUILD,static,--target weightbridge)
	@ldd build/static/src/cli/weightbridge

clean:
	rm -rf build demo-out
