# Sets up an environment, then does what is asked; `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
RUNTIME_VENV ?= .venv-runtime
IMG ?= demo/demo.jpg
OUT ?= outputs/demo
DEMO_ARGS = $(if $(DET),--det-model $(DET)) \
    $(if $(DET_WEIGHTS),--det-weights $(DET_WEIGHTS))
BIN = $(VENV)/bin
INSTALL = $(PYTHON) tools/install.py
TORCH = $(if $(TORCH_INDEX),--torch-index "$(TORCH_INDEX)")

.PHONY: help env demo-env demo test runtime-env runtime-test wheel-test matrix web \
    web-build web-test lint clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile
	@echo 'PYTHON=$(PYTHON)  VENV=$(VENV)  TORCH_INDEX=URL of an index of torch'

env:  ## create VENV (default .venv) and install everything into it
	@$(INSTALL) "$(VENV)" $(TORCH)

demo-env:  ## the same with only what `make demo` needs
	@$(INSTALL) "$(VENV)" --demo $(TORCH)

demo: demo-env  ## draw the pose in IMG (photo, folder or video; DET=yolox-nano for several persons)
	@$(BIN)/python tools/demo.py "$(IMG)" --out-dir "$(OUT)" $(DEMO_ARGS)

test: env  ## run the test suite
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 \
	    --dist loadfile --max-worker-restart 0

runtime-env:  ## create RUNTIME_VENV: lpn-pose and its engine, no PyTorch
	@$(INSTALL) "$(RUNTIME_VENV)" --runtime

runtime-test: runtime-env  ## run the runtime's tests where PyTorch is not
	@$(RUNTIME_VENV)/bin/python -m pip install --quiet -c constraints.txt \
	    pytest onnx openvino
	@$(RUNTIME_VENV)/bin/python -m pytest --noconftest tests/test_runtime

web: web-build  ## serve the page of projects/web_demo (DET= YOLOX as ONNX)
	@cd projects/web_demo && node serve.js $(PORT)

web-build:
	@cd projects/web_demo && npm ci --silent && \
	    DET="$(abspath $(DET))" npm run --silent build

web-test: runtime-env web-build  ## test that page in Chromium (CHROMIUM=)
	@$(RUNTIME_VENV)/bin/python -m pip install --quiet -c constraints.txt onnx
	@cd projects/web_demo && PYTHON="$(abspath $(RUNTIME_VENV))/bin/python" \
	    OMP_NUM_THREADS=1 npm run --silent test

wheel-test:  ## build the wheel; test it as plain pip installs it, in a fresh venv
	@$(PYTHON) tools/test_wheel.py

matrix:  ## test every supported stack (hours; goes on; KEEP=1 keeps them)
	@$(PYTHON) tools/matrix.py $(if $(KEEP),--keep)

lint: env  ## check the style: ruff
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

clean:  ## remove the environments and what the demo wrote
	rm -rf "$(VENV)" "$(RUNTIME_VENV)" outputs
	cd projects/web_demo && rm -rf dist node_modules outputs
