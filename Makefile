# Sets up an environment, then does what is asked; `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
IMG ?= demo/demo.jpg
OUT ?= outputs/demo
DEMO_ARGS = $(if $(DET),--det-model $(DET)) \
    $(if $(DET_WEIGHTS),--det-weights $(DET_WEIGHTS))
BIN = $(VENV)/bin

.PHONY: help env demo test lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-6s %s\n", $$1, $$2}' Makefile
	@echo 'PYTHON=$(PYTHON)  VENV=$(VENV)'

env:  ## create VENV (default .venv) and install everything into it
	@$(PYTHON) tools/install.py "$(VENV)"

demo: env  ## draw the pose in IMG (photo, folder or video; DET= a detector)
	@$(BIN)/python tools/demo.py "$(IMG)" --out-dir "$(OUT)" $(DEMO_ARGS)

test: env  ## run the test suite
	@$(BIN)/python -m pytest

lint: env  ## run ruff
	@$(BIN)/python -m ruff check .

clean:  ## remove VENV and what the demo wrote
	rm -rf "$(VENV)" outputs
