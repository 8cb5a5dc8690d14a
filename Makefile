# make          what there is to make
# make demo     build, install into .venv, run the worked examples
# make test     build and run every test
# make bench    measure every path beside every peer that can be installed
#
# Everything lands in .venv, build and .cache of this checkout. PYTHON= picks the interpreter.

VENV   := .venv
python := $(VENV)/bin/python
stamps := $(VENV)/stamps
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)

# Nothing is written to the home folder. (pip asks rustc for its version, and rustup answers by making
# a folder.)
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export RUSTUP_HOME := $(CURDIR)/.cache/rustup
export XDG_CACHE_HOME := $(CURDIR)/.cache
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export MPLBACKEND := Agg
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
unexport PYTHONPATH PYTHONHOME

say := @printf '\033[1m==> %s\033[0m\n'
pip  = $(python) -m pip install -qq --constraint requirements/constraints.txt

.DELETE_ON_ERROR:
.NOTPARALLEL:  # one pip at a time; ninja uses all cores by itself
.PHONY: help venv build install demo bench test test-cpp test-python test-old-torch test-gpu sanitize \
        asan-python valgrind lint format clean distclean

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo 'make build    the wheel, installed into .venv; make install is the same'
	@echo
	@echo 'make test-cpp, make test-python    one half of the tests'
	@echo 'make bench BENCH="--json"          what it is given: python -m dlpack_bridge bench --help'
	@echo 'make sanitize                      the C++ tests and those of Python that own memory under ASan'
	@echo '                                   and UBSan, the C++ tests under TSan'
	@echo 'make valgrind                      the C++ tests under valgrind'
	@echo 'make test-old-torch                the Python tests with a torch without exchange table'
	@echo 'make test-gpu                      the tests that need a GPU, from what is installed'
	@echo 'make lint, make format             clang-format and ruff'
	@echo 'make clean, make distclean         without and with .venv and the caches'

# ---- environment ---------------------------------------------------------------------------------

# The first interpreter that really runs (a pyenv shim may be there and fail), can make virtual
# environments and has its headers.
usable := import os, sys, sysconfig, venv, ensurepip; \
  assert sys.version_info >= (3, 10), "older than 3.10"; \
  header = os.path.join(sysconfig.get_path("include"), "Python.h"); \
  assert os.path.exists(header), "no " + header + " (Debian: python3-dev)"

identify := import sys; print(sys.base_prefix, sys.version.split()[0])

ifneq ($(MAKECMDGOALS),test-gpu)  # which runs in PYTHON itself
ifdef PYTHON  # another one than .venv was made with: make it anew
ifneq ($(shell $(PYTHON) -c '$(identify)' 2>/dev/null),$(shell cat $(stamps)/venv 2>/dev/null))
$(shell rm -f $(stamps)/venv)
endif
endif
endif

$(stamps)/venv:
	@for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.10 python3); do \
	  if why=$$($$candidate -c '$(usable)' 2>&1); then python=$$candidate; break; fi; \
	  tried="$$tried  $$candidate: $$(echo "$$why" | tail -n 1)\n"; \
	done; \
	if [ -z "$$python" ]; then \
	  printf "No usable Python >= 3.10 with venv and headers. Name one: make PYTHON=...\n$$tried" >&2; exit 1; \
	fi; \
	printf '\033[1m==> %s\033[0m\n' "Making $(VENV) with $$($$python --version) ($$python)"; \
	$$python -m venv --clear $(VENV) && mkdir -p $(stamps) && $$python -c '$(identify)' > $@

$(stamps)/build: requirements/build.txt requirements/nvcc.txt requirements/constraints.txt $(stamps)/venv
	$(say) 'Installing the build tools into $(VENV): cmake, ninja, pybind11, CUDA headers, ... (90 MB)'
	@$(pip) --requirement requirements/build.txt
	@if ! command -v nvcc > /dev/null && ! [ -x /usr/local/cuda/bin/nvcc ]; then \
	  printf '    No CUDA toolkit is installed: nvcc for the gather kernels comes from PyPI, 320 MB\n'; \
	  $(pip) --requirement requirements/nvcc.txt; \
	fi
	@touch $@

# A build of torch without CUDA where pip is offered one, then from torch's own index; plain torch
# brings gigabytes of CUDA packages on Linux and comes last.
torch_index := https://download.pytorch.org/whl/cpu

$(stamps)/torch: requirements/torch-cpu.txt requirements/torch.txt requirements/constraints.txt $(stamps)/venv
	$(say) 'Installing torch into $(VENV): the build without CUDA (200 MB)'
	@$(pip) --requirement requirements/torch-cpu.txt 2>/dev/null || \
	$(pip) --requirement requirements/torch-cpu.txt --retries 0 --timeout 10 \
	  --extra-index-url $(torch_index) 2>/dev/null || \
	{ echo '    No such build is offered here: installing plain torch, 526 MB and its CUDA packages'; \
	  $(pip) --requirement requirements/torch.txt; }
	@touch $@

$(stamps)/demo: requirements/demo.txt requirements/constraints.txt $(stamps)/build $(stamps)/torch
	$(say) 'Installing what the worked examples use into $(VENV): matplotlib'
	@$(pip) --requirement requirements/demo.txt
	@touch $@

$(stamps)/test: requirements/test.txt $(stamps)/demo
	$(say) 'Installing what the tests use into $(VENV): pytest, TensorFlow, JAX, ... (400 MB)'
	@$(pip) --requirement requirements/test.txt
	@touch $@

venv: $(stamps)/test

# ---- the Python package --------------------------------------------------------------------------

sources := CMakeLists.txt pyproject.toml LICENSE README.md \
  $(wildcard docs/examples/[0-9]*.py) \
  $(shell find cmake dlpack_bridge bindings -type f -not -name '*.pyc' 2>/dev/null)

$(stamps)/package: $(sources) $(stamps)/build
	$(say) 'Building the wheel and installing it into $(VENV)'
	@$(pip) --no-build-isolation --no-deps --force-reinstall .
	@touch $@

build install: $(stamps)/package

demo: $(stamps)/package $(stamps)/demo
	@mkdir -p build/demo
	@for example in docs/examples/[0-9]*.py; do \
	  printf '\033[1m==> %s\033[0m\n' "$$example"; \
	  (cd build/demo && ../../$(python) ../../$$example) || exit 1; \
	done

# ---- tests ---------------------------------------------------------------------------------------

cmake     := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake
run_tests := $(python) tests/support/run_tests.py
cpp_suite    := --ctest 'C++=build/cpp'
asan_suite   := --ctest 'C++ under ASan, UBSan=build/asan'
tsan_suite   := --ctest 'C++ under TSan=build/tsan'
python_suite := --pytest 'Python=tests/python,tests/packaging'
# What takes memory, keeps it and gives it back.
asan_python_tests := $(patsubst %,tests/python/test_%.py,array_dlpack capsules caster_arguments \
  caster_lifetime caster_overloads caster_results deleters hostile references sources_dlpack \
  sources_exchange_api threads)
asan_python_suite := --asan-pytest 'Python under ASan, UBSan=build/asan-python:$(asan_python_tests)'

.PRECIOUS: build/%/build.ninja

# A preset's tree: configured once, built every time (ninja knows what is new).
build/%/build.ninja: CMakePresets.json $(stamps)/build
	$(say) 'Configuring build/$*'
	@mkdir -p build
	@$(cmake) --fresh --preset $* -DPython_EXECUTABLE=$(CURDIR)/$(python) \
	    -Dpybind11_ROOT="$$($(python) -m pybind11 --cmakedir)" > build/$*.log 2>&1 \
	  || { cat build/$*.log; exit 1; }

cpp-%: build/%/build.ninja
	$(say) 'Building the C++ tests in build/$*'
	@$(cmake) --build build/$*

# The Python package as the sanitizers see it, installed beside the tree.
asan-python: cpp-asan
	@$(cmake) --install build/asan --prefix build/asan-python/dlpack_bridge > build/asan-python.log
	@cp -R bindings/dlpack_bridge/. build/asan-python/dlpack_bridge

test: $(stamps)/package $(stamps)/test cpp-cpp cpp-tsan asan-python
	@$(run_tests) $(cpp_suite) $(asan_suite) $(python_suite) $(asan_python_suite) --then $(tsan_suite)

test-cpp: cpp-cpp
	@$(run_tests) $(cpp_suite)

test-python: $(stamps)/package $(stamps)/test
	@$(run_tests) $(python_suite)

# A torch without the exchange table, in an environment of its own. Not a part of make test: where no
# build without CUDA is offered, it is a download of gigabytes.
OLD_TORCH ?= 2.8.0
OLD_TORCH_TESTS ?= tests/python
old := .venv-old-torch

$(old)/stamp-$(OLD_TORCH): $(stamps)/test
	$(say) 'Making $(old) with torch $(OLD_TORCH)'
	@$(python) -m venv --clear $(old)
	@sed 's/^torch==.*/torch==$(OLD_TORCH)/' requirements/constraints.txt > $(old)/constraints.txt
	@install="$(old)/bin/python -m pip install -qq --progress-bar off --constraint $(old)/constraints.txt"; \
	$$install 'torch==$(OLD_TORCH)+cpu' 2>/dev/null || \
	$$install 'torch==$(OLD_TORCH)+cpu' --retries 0 --timeout 10 --extra-index-url $(torch_index) 2>/dev/null || \
	{ echo '    No build without CUDA is offered here: installing 900 MB and the CUDA packages'; \
	  $$install 'torch==$(OLD_TORCH)'; }; \
	$$install --requirement requirements/build.txt --requirement requirements/test.txt
	@touch $@

test-old-torch: $(old)/stamp-$(OLD_TORCH) $(sources)
	@$(old)/bin/python -m pip install -qq --no-build-isolation --no-deps --force-reinstall .
	@$(old)/bin/python tests/support/run_tests.py --pytest 'Python, torch $(OLD_TORCH)=$(OLD_TORCH_TESTS)'

# Needs no network and makes no environment: it takes the interpreter that has torch, CuPy and JAX for
# the GPU. Where there is no GPU it says so and is done.
test-gpu:
	@PYTHONPATH='$(PYTHONPATH)' $(or $(PYTHON),python3) tests/gpu/run.py $(GPU_TESTS)

sanitize: $(stamps)/test cpp-tsan asan-python
	@$(run_tests) $(asan_suite) $(tsan_suite) $(asan_python_suite)

# ---- benchmarks ----------------------------------------------------------------------------------

# One after the other: a peer that is not offered here leaves its rows out, with the reason.
$(stamps)/bench: requirements/bench.txt requirements/constraints.txt $(stamps)/test
	$(say) 'Installing the peers of the benchmarks into $(VENV): nanobind, cuda.core, ... (50 MB)'
	@for peer in $$(sed '/^#/d' requirements/bench.txt); do \
	  $(pip) $$peer || echo "    $$peer cannot be had here"; \
	done
	@touch $@

# Importing TensorFlow makes this folder, in the home folder if it is not told better.
bench: export KERAS_HOME := $(CURDIR)/.cache/keras
bench: $(stamps)/package $(stamps)/bench
	@$(python) -m dlpack_bridge bench $(BENCH)

# ---- the rest ------------------------------------------------------------------------------------

valgrind: cpp-cpp
	@command -v valgrind > /dev/null || { echo 'valgrind is not installed' >&2; exit 1; }
	@for test in build/cpp/tests/cpp/test_*; do \
	  [ -x $$test ] && [ -f $$test ] || continue; \
	  printf '\033[1m==> valgrind %s\033[0m\n' $$test; \
	  valgrind --quiet --leak-check=full --error-exitcode=1 $$test || exit 1; \
	done

cpp_files    = $(shell find dlpack_bridge bindings tests docs -name '*.[ch]pp')
python_files := bindings tests docs/examples

$(stamps)/lint: requirements/lint.txt requirements/constraints.txt $(stamps)/venv
	$(say) 'Installing the linters into $(VENV): clang-format, ruff'
	@$(pip) --requirement requirements/lint.txt
	@touch $@

lint: $(stamps)/lint
	@$(VENV)/bin/clang-format --dry-run --Werror $(cpp_files)
	@$(VENV)/bin/ruff check $(python_files)
	@$(VENV)/bin/ruff format --check $(python_files)

format: $(stamps)/lint
	@$(VENV)/bin/clang-format -i $(cpp_files)
	@$(VENV)/bin/ruff format $(python_files)

clean:
	rm -rf build
	rm -f $(stamps)/package

distclean: clean
	rm -rf .venv .venv-old-torch .cache
