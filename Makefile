# make demo: install, then run the whole job on the embedded corpus.  make test: install, then test.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Files in their order, so that the long ones of e2e begin early and each shares its fixtures.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test check docs dist bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "ClassifSAE needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	@# torch first and alone: the pin takes a CPU build where one is offered
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[offline,text,quantization,docs,dev]"
	@touch $@

demo: setup
	$(BIN)/classifsae run experiments/demo.yaml

test: setup
	$(BIN)/python -m pytest $(PARALLEL)

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

dist: setup
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

check: setup docs dist
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/deptry tests benchmarks examples --ignore DEP002,DEP004
	$(BIN)/python -m pytest $(PARALLEL)

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv runs site dist
