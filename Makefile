# Everything here needs only a Python from 3.10 to 3.13 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Chainer's build wants an older setuptools. Old pips hand the first variable to builds, new ones only the second; and
# without --use-pep517 old pips build with the setuptools that is installed, if `wheel` is not.
export PIP_CONSTRAINT := build-constraints.txt
export PIP_BUILD_CONSTRAINT := build-constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
INSTALL := $(BIN)/python -m pip install --quiet --use-pep517 --constraint constraints.txt
SETUP_FILES := setup.cfg pyproject.toml constraints.txt build-constraints.txt

.DEFAULT_GOAL := help
.PHONY: help docs families install demo test test-end-to-end test-all test-gpu test-matrix fuzz chaos mutants check format bench dist clean

# In as many processes as there are processors; each of which then has one thread for its networks. What Python compiles is
# kept, whatever the environment says: the tests start hundreds of processes of the same modules.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist worksteal

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

install: $(VENV)/installed ## .venv with bin/deeppose-port, Chainer, HDF5, ONNX and H.264
demo: $(VENV)/installed ## convert a real legacy checkpoint, evaluate it, draw what it sees
	@$(BIN)/python examples/demo.py

test: $(VENV)/installed-dev ## the tests
	$(PYTEST)

test-end-to-end: $(VENV)/installed-dev ## whole processes: the examples, killed runs, browsers, several processes that train
	$(BIN)/python -m pytest -m "end_to_end and not slow"

test-all: $(VENV)/installed-dev ## all of them, the slow ones too, and on the newest Python with the newest of everything
	$(PYTEST) -m "not slow and not end_to_end"
	$(BIN)/python -m pytest -m "slow or end_to_end"
	$(PYTHON) tests/matrix.py --packages whole

test-matrix: ## on every Python here, with the oldest and the newest of everything, without PyTorch
	$(PYTHON) tests/matrix.py $(MATRIX)

test-gpu: ## every test that needs a GPU, and what one does, in one table: with a PYTHON that has PyTorch for it
	$(PYTHON) -m venv --system-site-packages .venv-gpu
	.venv-gpu/bin/python -m pip install --quiet --editable '.[test]'
	.venv-gpu/bin/python -m benchmarks.gpu

fuzz: $(VENV)/installed-dev ## 10,000 damaged files of every format
	$(BIN)/python -m tests.hostile.fuzz

chaos: $(VENV)/installed-dev ## 200 signals at random moments to what converts, packs, prepares, trains and evaluates
	$(BIN)/python -m tests.end_to_end.chaos

mutants: $(VENV)/installed-dev ## 200 single edits of the source: how many do the tests notice?
	$(BIN)/python -m tests.mutants

check: $(VENV)/installed-dev ## ruff, format and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev ## mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

families: $(VENV)/installed ## docs/families.md from converters/families
	$(BIN)/python -m converters.families docs/families.md

docs: $(VENV)/installed-dev ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --site-dir site

bench: $(VENV)/installed-dev ## ratios, measured in one run
	$(BIN)/python -m benchmarks

dist: $(VENV)/installed-dev ## sdist and wheel in dist/, and what they hold is looked at
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/distribution.py dist

clean: ## remove what was built and the virtual environment
	rm -rf $(VENV) .venv-gpu build dist *.egg-info demo .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python $(SETUP_FILES)
	@echo "Installing deeppose-port with Chainer, HDF5, ONNX and H.264 into $(VENV); PyTorch takes a few minutes the first time."
	$(INSTALL) --editable '.[chainer,fast,hdf5,onnx,video]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) --editable '.[chainer,fast,hdf5,hub,notebook,onnx,openvino,pandas,parquet,video,test,dev]'
	@touch $@
