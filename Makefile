# `make demo` and `make test` are all a fresh machine needs; both leave an up-to-date .venv alone.
PYTHON ?= python3
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test pytest test-long test-examples test-oldest test-reliability test-plugins lint types pages docs docs-assets benchmarks clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(BIN)/birdplane train demo

# Tests side by side, a process a core: most of them wait for processes of their own.
SPREAD := -n auto --maxprocesses 4 --dist worksteal
# What make does side by side says what it has to say in one piece, where this make can do that.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test: lint types pages pytest

pytest: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(SPREAD) -m "not long and not alone"
	@$(BIN)/python -m pytest -m "not long and alone"

test-long: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest $(SPREAD) -m "not alone"
	@$(BIN)/python -m pytest -m alone
	@$(MAKE) --no-print-directory test-plugins MARKS=

# The examples of the pages but the README, the benchmark scripts that take a minute, and the pages with their outputs.
test-examples: $(VENV)/.installed-dev docs
	@$(BIN)/python -m pytest $(SPREAD) -m "long and not alone" tests/test_docs.py tests/test_benchmarks.py

# The tests of `make test` on the oldest torch that is supported, in an environment of its own.
test-oldest:
	@$(MAKE) --no-print-directory pytest VENV=build/oldest CONSTRAINTS=tests/oldest.txt

# What docs/reliability.md promises, with all the counts that it tells.
test-reliability: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest tests/reliability tests/test_distributed.py tests/cli/test_training.py --durations=0 -rP

# Each distribution of plugins/ is built and installed into a folder of its own, which its tests alone see.
MARKS ?= not long
PLUGINS := $(notdir $(wildcard plugins/birdplane-*))

# Two at a time: each waits for processes of its own.
test-plugins: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory --jobs 2 $(SYNC) $(PLUGINS:%=test-plugin-%)

test-plugin-%: $(VENV)/.installed-dev
	@folder=$(CURDIR)/build/plugins/$*; rm -rf $$folder; echo "$*:"; \
	$(PIP) install --no-deps --no-build-isolation --target $$folder ./plugins/$* && \
	PYTHONPATH=$$folder $(BIN)/python -m pytest plugins/$*/tests -m "$(MARKS)"

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	@$(BIN)/mypy

# Whether the pages can be built, with what their examples printed when that was last written into them.
pages: $(VENV)/.installed-dev
	@OUTPUTS=written NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir build/pages

docs: $(VENV)/.installed-dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The recording of a training run and the pictures of the screens in the README and docs.
docs-assets: $(VENV)/.installed-dev
	@$(BIN)/python docs/record.py
	@$(BIN)/python docs/screens.py
	@$(BIN)/python docs/report.py

# SOURCE and SHA256 name a CIFAR-10 archive; without them drawn pictures of the same count and size are taken.
benchmarks: $(VENV)/.installed-dev
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[benchmarks]'
	@for script in startup checkpoints display gpu processes cockpit; do $(BIN)/python benchmarks/$$script.py --write; done
	@for script in epoch time_to_accuracy; do \
		$(BIN)/python benchmarks/$$script.py --write $(if $(SOURCE),--source $(SOURCE) --sha256 $(SHA256)); done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "birdplane needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	@echo "installing birdplane and PyTorch into $(VENV): some minutes the first time"
	@$(PIP) install --constraint $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	@echo "installing birdplane with its development tools into $(VENV)"
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $(VENV)/.installed $@

clean:
	@rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache
