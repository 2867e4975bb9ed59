# Everything a developer or CI calls. PYTHON chooses the interpreter (3.11 or later), VENV the environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: help install demo test test-all mutants sanitize bench lint format proto prototxt dist size clean

help:
	@echo "make demo      draw a database, train a small VGG net on it, test it (a few minutes)"
	@echo "make test      all tests but the long sweeps"
	@echo "make test-all  all tests"
	@echo "make mutants   breaks the CUDA kernels place by place: do the tests notice? (half an hour)"
	@echo "make sanitize  the C++ modules under the address and undefined-behaviour sanitizers"
	@echo "make bench     the CPU engine beside its rivals: docs/results/cpu.md (an hour or two; TORCH=PYTHON)"
	@echo "make lint      ruff, mypy, import rules"
	@echo "make format    lay the code out"
	@echo "make proto     netdef/caffe_pb2 from caffe.proto"
	@echo "make prototxt  the nets of the paper from tools/make_vgg.py"
	@echo "make dist      sdist and wheel"
	@echo "make size      lines of code by folder"

$(READY): pyproject.toml setup.py $(wildcard kernels/cpu/*.cpp kernels/cpu/*.h)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

install: $(READY)

demo: $(READY)
	$(BIN)/cvgg demo

test: $(READY)
	$(BIN)/pytest -m "not slow and not gpu"

test-all: $(READY)
	$(BIN)/pytest -m "not gpu"

mutants: $(READY)
	$(BIN)/python tools/mutants.py

sanitize: $(READY)
	$(BIN)/python tools/sanitize.py

# TORCH: a Python that has torch. RIVALS: one that has onnxruntime and OpenCV. PHOTOS: a folder of .jpg to load.
RIVALS ?= $(TORCH)
BENCH_JSON ?= build/bench.json
bench: $(READY)
	@test -n "$(TORCH)" || { echo "make bench TORCH=PYTHON [RIVALS=PYTHON] [PHOTOS=FOLDER]: a Python that has torch," \
		"and one that has onnxruntime and OpenCV: see tools/bench/requirements.txt"; exit 64; }
	mkdir -p $(dir $(BENCH_JSON))
	$(BIN)/python tools/bench_cpu.py --nets A,E --batches 1,8,32 --layers --loader --rounds 5 --torch $(TORCH) \
		--rivals $(RIVALS) $(if $(PHOTOS),--photos $(PHOTOS)) --json $(BENCH_JSON) --report docs/results/cpu.md

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -p cvgg
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

proto: $(READY)
	$(BIN)/python tools/make_proto.py

prototxt: $(READY)
	$(BIN)/python tools/make_vgg.py

dist: $(READY)
	$(BIN)/python -m build

size:
	@for folder in netdef kernels cvgg tools tests; do \
		printf '%-8s %6d lines\n' $$folder $$(find $$folder/ -name '*.py' -not -name '*_pb2.py' -o -name '*.cpp' | xargs cat | wc -l); \
	done

clean:
	rm -rf build dist *.egg-info $(VENV)
