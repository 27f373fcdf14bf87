# `make demo` and `make test` are all a fresh machine needs; both leave an up-to-date .venv alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test test-long lint types docs docs-assets benchmarks clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(BIN)/birdplane train demo

test: $(VENV)/.installed-dev lint types docs
	@$(BIN)/python -m pytest -m "not long"

test-long: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	@$(BIN)/mypy

docs: $(VENV)/.installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The recording of a training run and the pictures of the screens in the README and docs.
docs-assets: $(VENV)/.installed-dev
	@$(BIN)/python docs/record.py
	@$(BIN)/python docs/screens.py

# SOURCE and SHA256 name a CIFAR-10 archive; without them drawn pictures of the same count and size are taken.
benchmarks: $(VENV)/.installed-dev
	@$(PIP) install --constraint constraints.txt --editable '.[benchmarks]'
	@for script in startup checkpoints display gpu; do $(BIN)/python benchmarks/$$script.py --write; done
	@for script in epoch time_to_accuracy; do \
		$(BIN)/python benchmarks/$$script.py --write $(if $(SOURCE),--source $(SOURCE) --sha256 $(SHA256)); done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "birdplane needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing birdplane and PyTorch into $(VENV): some minutes the first time"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing birdplane with its development tools into $(VENV)"
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $(VENV)/.installed $@

clean:
	@rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache
