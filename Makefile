# Everything runs in .venv, made here from Python and a package index alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/quick
FLAGS ?= flags/quick.cfg
PROMPT ?= ROMEO:
LENGTH ?= 500
TEMPERATURE ?= 0.8

# The prompt goes through the environment: no quoting can break it.
export PROMPT

.PHONY: help install generate train test lint typecheck docs bench-train bench-generate bench-evaluate clean
.DEFAULT_GOAL := help

help:  ## this text
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/installed  ## make the virtual environment .venv and install the package in it

generate: $(VENV)/installed  ## write text; trains flags/quick.cfg first if RUN holds no model (PROMPT LENGTH TEMPERATURE RUN)
	@if ! ls $(RUN)/checkpoints/step-*/manifest.json >/dev/null 2>&1; then \
		$(BIN)/python -m shakespeare_gen.train --flagfile=$(FLAGS) --run_dir=$(RUN); \
	elif ! grep -qs '"status": "finished"' $(RUN)/run.json; then \
		$(BIN)/python -m shakespeare_gen.train --resume --run_dir=$(RUN); \
	fi
	@printf '%s' "$$PROMPT" | $(BIN)/python -m shakespeare_gen.generate --run_dir=$(RUN) \
		--prompt_path=- --length=$(LENGTH) --temperature=$(TEMPERATURE)

train: $(VENV)/installed  ## train FLAGS into the run folder that it names
	$(BIN)/python -m shakespeare_gen.train --flagfile=$(FLAGS)

test: $(VENV)/installed-test  ## run every test
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev  ## check style and order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(VENV)/installed-dev  ## check types
	$(BIN)/mypy

docs: $(VENV)/installed  ## write the tables of flags into README.md
	$(BIN)/python -m shakespeare_gen.options.tables README.md

bench-train: $(VENV)/installed-bench  ## training speed against stock Keras and PyTorch, into benchmarks/RESULTS.md
	$(BIN)/python benchmarks/train_speed.py

bench-generate: $(VENV)/installed-bench  ## generation speed against the tutorial's way and PyTorch, into benchmarks/GENERATION.md
	$(BIN)/python benchmarks/generate_speed.py

bench-evaluate: $(VENV)/installed  ## seconds of an exact, an adapting evaluation and a copy check, into benchmarks/EVALUATION.md
	$(BIN)/python benchmarks/evaluate_speed.py

clean:  ## delete the virtual environment and caches; runs stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, received " + sys.version)'
	@echo "Setting up $(VENV): a few minutes, once."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.py | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate]'
	@touch $@

$(VENV)/installed-test: setup.py | $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,test]'
	@touch $@

$(VENV)/installed-dev: setup.py | $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,test,dev]'
	@touch $@

$(VENV)/installed-bench: setup.py | $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[plays,evaluate,bench]'
	@touch $@
