# make demo | test | test-slow | lint | docs | bench | gpu-check
#   VENV=path        environment to use; made when missing
#   PYTHON=python3   interpreter that makes it
#   TEST_JOBS=3      test files at once: one more than cores, because tests with Ray often wait for its workers
#   BENCH_FLAGS=     what benchmarks are called with; --quick, unless it is set
#   TORCH_INDEX=url  index for torch and torchvision (both must come from one build), such as that of the CPU builds
VENV ?= .venv
PYTHON ?= python3
TORCH_INDEX ?=
BENCH_FLAGS ?= --quick
TEST_JOBS ?= 3
GPU_PYTHON ?= $(or $(wildcard $(VENV)/bin/python),$(PYTHON))
GPU_FLAGS ?=
DEMO_OUT ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

RUN := $(VENV)/bin/python -m
# Tests start hundreds of processes: without this, each would compile the package again where the variable is set.
export PYTHONDONTWRITEBYTECODE :=
STAMP := $(VENV)/.nas-distill-installed

.DELETE_ON_ERROR:
.PHONY: demo test test-slow lint docs bench gpu-check install

install: $(STAMP)

$(VENV)/bin/python:
	@echo "== environment $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "== install"
	$(if $(TORCH_INDEX),$(RUN) pip install --quiet --index-url "$(TORCH_INDEX)" torch torchvision)
	$(RUN) pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@echo "== demo: a search on the digits data, two trials at a time"
	$(RUN) nas_distill search --data digits --trials 40 --epochs 40 --batch-size 32 --seed 0 --max-parallel 2 --out $(DEMO_OUT)

docs: $(STAMP)
	@echo "== generated pages of docs/reference"
	@$(VENV)/bin/python docs/generate.py

lint: $(STAMP)
	@echo "== ruff check"
	@$(RUN) ruff check .
	@echo "== ruff format"
	@$(RUN) ruff format --check .

test: lint
	@echo "== mypy"
	@# With the environment, because most of the cache is about its packages.
	@$(RUN) mypy --cache-dir $(VENV)/.mypy_cache
	@echo "== import-linter"
	@$(VENV)/bin/lint-imports
	@echo "== pytest"
	@# In the order of the folders: by the number of their tests, the longest file of one test would come last and alone.
	@$(RUN) pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP)
	@$(RUN) pytest -m slow

BENCHMARKS := step_cost step_cost.epoch_profile search_cost against_pruning distillation distillation.views distillation.calibration families initial_weights search_quality search_quality.rungs scale \
  scale.kills scale.reading statistics.law_coverage statistics.undistillable statistics.diagnosis statistics.release export packing

# packing ends with exit status 2 where there is no GPU.
bench: $(STAMP)
	$(RUN) pip install --quiet --editable '.[bench,export]'
	@set -e; for program in $(BENCHMARKS); do echo "== $$program"; \
	  $(RUN) benchmarks.$$program $(BENCH_FLAGS) || { code=$$?; [ "$$program:$$code" = packing:2 ]; }; done

# Needs a GPU; no Ray, no Optuna, and nothing is installed. GPU_FLAGS="--device cpu" tries it on a CPU.
gpu-check:
	$(GPU_PYTHON) -m benchmarks.gpu_check $(GPU_FLAGS)
