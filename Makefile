# `make` sets up and reproduces the course on the quick profile; `make test` checks everything; see README.md.
# CPU wheels of torch: make TORCH_INDEX=https://download.pytorch.org/whl/cpu
# An environment of your own (conda): make PYTHON=$CONDA_PREFIX/bin/python VENV=

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
READY := $(if $(VENV),$(VENV)/.ready)
SITE := $(if $(VENV),$(VENV)/.site)
BIN := $(if $(VENV),$(VENV)/bin/,$(filter-out ./,$(dir $(PYTHON))))

export OMP_NUM_THREADS ?= 1

.PHONY: all test lint lab figures student site site-check lock
.DELETE_ON_ERROR:

all: $(READY)
	$(BIN)survey reproduce --profile quick

test: lint
	$(BIN)pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with=tests/nbval_sanitize.cfg --nbval-cell-timeout=600 tests survey_lib notebooks

lint: $(READY)
	$(BIN)ruff check . && $(BIN)ruff format --check --quiet survey_lib tests benchmarks && $(BIN)lint-imports

lab: $(READY)
	$(BIN)jupyter lab notebooks/00_start_here.ipynb

figures: $(READY)
	$(BIN)survey figure all

student: $(READY)
	$(BIN)survey student student

site: $(READY) $(SITE)
	rm -rf build/site build/site-source
	$(BIN)survey site build/site-source
	$(BIN)sphinx-build -q -W --keep-going -b html build/site-source build/site

site-check: site
	$(BIN)pytest tests/test_site_pages.py

lock: $(READY)
	$(BIN)pip freeze --exclude-editable | grep -Ev '^(nvidia|cuda|triton)' > requirements.lock

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements.lock -e .
	touch $@

$(SITE): pyproject.toml $(READY)
	$(BIN)python -m pip install --quiet -e '.[site]'
	touch $@
