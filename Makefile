# The newcomer's commands. `make repro` runs the main job, `make test` the tests; both set up .venv first.
PYTHON ?= python3
VENV   := .venv
VENV_GPU := $(VENV)-gpu
BIN    := $(VENV)/bin
UV_VERSION := 0.13.9
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export HF_HUB_DISABLE_TELEMETRY := 1
export DVC_NO_ANALYTICS := 1

.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 22

# Everything but torch comes from the hash-pinned lock without a resolver. torch is installed by pip itself,
# so that a CPU build offered through PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL wins over the CUDA build.
setup: $(VENV)/.ready  ## create .venv from requirements.lock (done by every other command)
$(VENV)/.ready: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	touch $@

# vLLM and onnxruntime's CUDA build pin other versions than this project: see host/interpreter.py.
setup-gpu: setup $(VENV_GPU)/.ready  ## create .venv-gpu from requirements-gpu.lock, on a machine with an NVIDIA GPU
$(VENV_GPU)/.ready: requirements-gpu.lock
	$(PYTHON) -m venv $(VENV_GPU)
	$(BIN)/uv pip install --python $(VENV_GPU)/bin/python --no-deps --require-hashes -r requirements-gpu.lock
	touch $@

lock:  ## resolve pyproject.toml again into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-package torch --no-emit-index-url --no-annotate --no-header --quiet \
	  $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS)) -o requirements.lock
	for name in requirements requirements-vllm; do \
	  $(BIN)/uv pip compile deploy/docker/$$name.in -c requirements.lock --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header --quiet -o deploy/docker/$$name.lock || exit 1; done
	$(BIN)/uv pip compile requirements-gpu.in --python-version 3.11 --generate-hashes --upgrade --only-binary :all: \
	  --no-emit-index-url --no-annotate --no-header --quiet -o requirements-gpu.lock
	$(BIN)/uv pip compile --group pyproject.toml:real --no-deps --python-version 3.11 --generate-hashes \
	  --only-binary :all: --no-emit-index-url --no-annotate --no-header --quiet -o requirements-real.lock

repro: setup  ## run the main job: every stage that changed, ending in a verdict, a page and a registered version
	@$(BIN)/python -m pipelines.repro

real: setup  ## the main job on SmolLM2-135M-Instruct, a model from outside; its results lie in workspaces/real
	@$(BIN)/python -m pipelines.fetch_real_model >&2
	@$(BIN)/python -m pipelines.repro --params params.real.yaml $(ARGS)

demo: setup  ## watch an approval become live traffic and a bad version go back (after repro; ARGS="--headless --auto")
	@$(BIN)/python -m pipelines.demo $(ARGS)

test: setup  ## the tests (minutes); what is marked slow has its own command
	@ci/system-packages
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile || \
	  { echo "what failed beside other tests must pass alone:"; $(BIN)/python -m pytest -m "not slow and not gpu" --last-failed --last-failed-no-failures none; }
	@echo "not run here: the contracts of TensorRT engines (make test-gpu) and of vLLM (make test-vllm) on a GPU"

test-gpu: setup  ## engines held to the contract of every runtime, on a GPU that they run on (docs/tensorrt.md)
	$(BIN)/python -m pytest -m gpu tests/contract/test_tensorrt_on_gpu.py

test-vllm: setup-gpu  ## vLLM held to the contract of every runtime, on an NVIDIA GPU (docs/gpu.md)
	$(VENV_GPU)/bin/python -m pytest -m gpu tests/contract/test_vllm_on_gpu.py

test-slow: setup  ## large models and soak (tens of minutes)
	$(BIN)/python -m pytest -m slow

lint: setup  ## ruff and mypy, as CI runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dvc-status: setup  ## is dvc.lock current? needs no data
	ci/dvc-status

mlflow: setup  ## the registry's UI on http://127.0.0.1:5000
	$(BIN)/mlflow server --backend-store-uri sqlite:///mlflow.db --default-artifact-root ./mlartifacts --host 127.0.0.1 --port 5000

bench: setup  ## all variants and Hugging Face generate, interleaved in one run on the shipped model
	$(BIN)/python -m benchmarks.cpu

bench-large: setup  ## the same on a random model of Qwen2.5-0.5B's shape (about 6 GB of memory)
	$(BIN)/python -m benchmarks.large

.PHONY: help setup setup-gpu lock repro real demo test test-gpu test-vllm test-slow lint dvc-status mlflow bench bench-large
