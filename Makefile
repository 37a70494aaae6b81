# make demo · make lab · make app · make test · make quick (unit tests of at most ten seconds each)
# PIP_FLAGS: extra flags for pip, e.g. an index with CPU-only builds of torch.
# WORKERS: test files and notebooks that run side by side; each computes with one thread.
PYTHON ?= python3
PIP_FLAGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
SIDE_BY_SIDE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile
SCHEMA := $(BIN)/check-jsonschema --quiet --builtin-schema vendor
# Longest first, so that none is left for one worker at the end.
LONG := $(wildcard $(foreach number,09 08 07 00,notebooks/$(number)_*.ipynb))
LESSONS := $(LONG) $(filter-out $(LONG),$(wildcard notebooks/*.ipynb))
SOLUTIONS := $(wildcard notebooks/solutions/*.ipynb)
# JupyterLab refuses to run as root, as in a container, unless told.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: demo lab app test quick fast lint notebooks browser mutants faults bench zoo clean

demo: $(VENV)/ready
	$(BIN)/pclora-lab demo

lab: $(VENV)/ready
	$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --LabApp.default_url=/lab/tree/00_start_here.ipynb \
		$(AS_ROOT) notebooks/00_start_here.ipynb

app: $(VENV)/ready
	$(BIN)/pclora-lab app

# Fast tests first, so that a mistake shows early.
test: lint fast notebooks browser

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(SCHEMA).github-workflows .github/workflows/test.yml
	$(SCHEMA).dependabot .github/dependabot.yml
	$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(SCHEMA).github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(SCHEMA).citation-file-format CITATION.cff

quick: $(VENV)/ready
	$(SIDE_BY_SIDE) -m "not slow and not browser"

fast: $(VENV)/ready
	$(SIDE_BY_SIDE) -m "not browser"

notebooks: $(VENV)/ready
	$(SIDE_BY_SIDE) --no-loadscope-reorder --nbval-lax --nbval-cell-timeout=900 \
		--nbval-sanitize-with tests/sanitize.cfg $(LESSONS) $(SOLUTIONS)

browser: $(VENV)/ready
	$(SIDE_BY_SIDE) -m browser tests/browser

# About an hour on two cores; taken up where it was left. Not a part of test.
mutants: $(VENV)/ready
	$(BIN)/pip install --quiet $(PIP_FLAGS) -e ".[test,mutants]"
	$(BIN)/python tests/mutants/run.py --result data/results/mutants.json

# Kills, crashes, full disks and odd input: less than an hour on two cores. A sample is part of test.
faults: $(VENV)/ready
	$(BIN)/python tests/faults/run.py --workers $(WORKERS) --result data/results/faults.json

# Steps, memory, whole runs, inference, starting: half an hour on two cores that do nothing else.
BENCH := runs/bench
bench: $(VENV)/ready
	mkdir -p $(BENCH)
	$(BIN)/python tests/benchmarks/step.py --memory --result $(BENCH)/step.json
	$(BIN)/python tests/benchmarks/whole_run.py --result $(BENCH)/whole_run.json
	$(BIN)/python tests/benchmarks/inference.py --result $(BENCH)/inference.json
	$(BIN)/python tests/benchmarks/int8.py --result $(BENCH)/int8.json
	$(BIN)/python tests/benchmarks/snella_layer.py --result $(BENCH)/snella_layer.json
	$(BIN)/python tests/benchmarks/scaling.py --check --result $(BENCH)/scaling.json
	$(BIN)/python tests/benchmarks/table.py $(BENCH) | tee $(BENCH)/table.md

# Every architecture of transformers and timm at a tiny size, for docs/architectures.md.
zoo: $(VENV)/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/zoo/write_page.py

$(VENV)/ready: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_FLAGS) -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) runs
