# Everything runs in .venv, which needs only Python and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each process of the tests loads TensorFlow (600 MB).
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=worksteal
COLAB_VENV := .venv-colab
COLAB_PYTHON ?= $(shell python3.13 -c 'import sys; print(sys.executable)' 2> /dev/null || echo $(PYTHON))
NOTEBOOKS ?=
RUN ?=
PORT ?= 8000
FLAGS ?= flags/laptop.cfg
PROMPT ?= ROMEO:
LENGTH ?= 500
TEMPERATURE ?= 0.8

# Passed through the environment, so that quotes and blanks in them are safe.
export PROMPT RUN

.PHONY: help install generate serve train test test-fast lint typecheck wheel docs docs-site recipes-table notebooks notebooks-colab bench-train bench-generate bench-evaluate bench-serve bench-export bench-page bench-scaling page clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' 'BEGIN { n = 0 } /^[a-z-]+:.*## / { \
		name[n] = $$1; text[n++] = $$2; if (length($$1) > width) width = length($$1) \
	} END { for (i = 0; i < n; i++) printf "%-" width "s  %s\n", name[i], text[i] }' $(MAKEFILE_LIST)

install: $(VENV)/installed  ## create the virtual environment .venv and install the package in it

# Without RUN, the newest finished run in runs, or a pretrained model if there is none.
generate: $(VENV)/installed  ## generate text (PROMPT LENGTH TEMPERATURE RUN)
	@printf '%s' "$$PROMPT" | $(BIN)/python -m shakespeare_gen.generate --run_dir="$$RUN" \
		--prompt_path=- --length=$(LENGTH) --temperature=$(TEMPERATURE)

# The same model, in a file that opens in a browser without a server.
page: $(VENV)/installed  ## write the page to write with, and the model, into build/page.html (RUN)
	@mkdir -p build
	$(BIN)/python -m shakespeare_gen.export --run_dir="$$RUN" --format=html --output_path=build/page.html --overwrite

# With the model of `make generate`.
serve: $(VENV)/installed  ## serve a page to write with, and an API, on http://127.0.0.1:PORT (RUN)
	$(BIN)/python -m shakespeare_gen.serve --run_dir="$$RUN" --port=$(PORT)

train: $(VENV)/installed  ## train the recipe FLAGS
	$(BIN)/python -m shakespeare_gen.train --flagfile=$(FLAGS)

test: $(VENV)/installed-test  ## run all tests
	$(PYTEST)

test-fast: $(VENV)/installed-test  ## run the tests that are not marked slow
	$(PYTEST) -m "not slow"

lint: $(VENV)/installed-dev  ## check style with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(VENV)/installed-dev  ## check types with mypy
	$(BIN)/mypy

wheel:  ## build a wheel in dist and run its console script in a new environment
	rm -rf build dist
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir=dist .
	$(PYTHON) -m venv build/fresh
	build/fresh/bin/python -m pip install --quiet dist/*.whl
	cd build && fresh/bin/shakespeare-gen --help
	cd build && fresh/bin/shakespeare-gen generate --help > /dev/null
	cd build && fresh/bin/shakespeare-gen train --flagfile=quick --only_check_args
	ls build/fresh/lib/python3*/site-packages/shakespeare_gen/py.typed

docs: $(VENV)/installed  ## regenerate the flag tables in docs/flags.md and the types for editors
	$(BIN)/python -m docs.update_tables
	$(BIN)/python -m docs.update_stub

# Warnings are errors: a link or an anchor without a target, a page that no other page names.
docs-site: $(VENV)/installed-docs  ## build the documentation as a site in build/docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -c docs . build/docs
	@echo "open build/docs/index.html"

recipes-table: $(VENV)/installed  ## write what the recipes reach from the run cards in benchmarks/runs
	$(BIN)/python -m docs.update_recipes

notebooks: $(VENV)/installed-test  ## execute the notebooks and store their outputs (NOTEBOOKS)
	$(BIN)/python -m notebooks.execute $(NOTEBOOKS)

# In an environment of its own, with Colab's Python if it is installed.
notebooks-colab: $(COLAB_VENV)/installed  ## run the notebooks with small budgets and the versions of Colab
	$(COLAB_VENV)/bin/python -m notebooks.execute --small $(NOTEBOOKS)

bench-train: $(VENV)/installed-bench  ## measure training speed against Keras and PyTorch (benchmarks/RESULTS.md)
	$(BIN)/python benchmarks/train_speed.py

bench-generate: $(VENV)/installed-bench  ## measure generation speed against the tutorial's method and PyTorch (benchmarks/GENERATION.md)
	$(BIN)/python benchmarks/generate_speed.py

bench-evaluate: $(VENV)/installed  ## measure the time of evaluations and of a copy check (benchmarks/EVALUATION.md)
	$(BIN)/python benchmarks/evaluate_speed.py

bench-serve: $(VENV)/installed-test  ## measure latency and speed of the server with 32 clients (benchmarks/SERVING.md)
	$(BIN)/python benchmarks/serve_load.py

bench-export: $(VENV)/installed-test  ## measure size, error and speed of every export format (docs/exporting.md)
	$(BIN)/python -m benchmarks.export_formats

bench-page: $(VENV)/installed-test  ## measure the speed of an exported page in a browser (benchmarks/PAGE.md)
	$(BIN)/python benchmarks/page_speed.py

# In parts: `python -m benchmarks.scaling --max_minutes=4`.
bench-scaling: $(VENV)/installed-test  ## measure time and memory against text size, units, streams and workers (docs/scale.md)
	$(BIN)/python -m benchmarks.scaling

clean:  ## delete the virtual environment and caches, but no runs
	rm -rf $(VENV) $(COLAB_VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, received " + sys.version)'
	@echo "Setting up $(VENV); this takes a few minutes, once."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,serve]'
	@touch $@

$(VENV)/installed-test: setup.py | $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,serve,test]'
	@touch $@

$(VENV)/installed-docs: setup.py | $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,serve,docs]'
	@touch $@

$(VENV)/installed-dev: setup.py | $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,serve,test,dev]'
	@touch $@

$(VENV)/installed-bench: setup.py | $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,serve,bench]'
	@touch $@

$(COLAB_VENV)/installed: setup.py notebooks/colab.txt
	@$(COLAB_PYTHON) -m venv --clear $(COLAB_VENV)
	@$(COLAB_VENV)/bin/python -m pip install --quiet --constraint notebooks/colab.txt \
		--editable '.[plays,evaluate,notebooks]'
	@touch $@
