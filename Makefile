# Each target sets up what it needs: a virtual environment in .venv with the locked requirements.
PYTHON ?= python3
BIN := .venv/bin
FRESH ?= --resume

.PHONY: hpt test check coverage lint docs wheel soak reference bench lock sbom clean help

LOCKING := build/locking

help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

hpt: .venv/run   ## the default study, on embedded data: tunes, trains the winner, evaluates it
	$(BIN)/python hpt.py --hpt-config-filepath hpt_config.yaml $(FRESH)

test: .venv/dev  ## all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/dev lint docs wheel ## lint, types, import rules, the site, the wheel, then all tests: what CI runs
	$(MAKE) test

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/docs ## the documentation site, into build/site; a warning or a broken link ends it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

wheel: .venv/dev ## the wheel and the source distribution, into build/dist, their contents checked
	rm -rf build/dist build/lib build/bdist.*
	$(BIN)/python -m build --no-isolation --outdir build/dist . > build/wheel.log
	$(BIN)/python tests/wheel.py build/dist

coverage: .venv/dev ## the share of lines and branches that the tests run, workers of studies included: build/coverage
	rm -rf build/coverage && mkdir -p build/coverage
	COVERAGE_FILE=build/coverage/data $(BIN)/python -m coverage run -m pytest -n 2 --dist worksteal
	COVERAGE_FILE=build/coverage/data $(BIN)/python -m coverage combine --quiet build/coverage
	COVERAGE_FILE=build/coverage/data $(BIN)/python -m coverage html --quiet --directory build/coverage/html
	COVERAGE_FILE=build/coverage/data $(BIN)/python -m coverage report --skip-covered --sort cover | tail -40

soak: .venv/dev  ## long studies: a hundred kills, eight workers on PostgreSQL, memory over two hundred trials
	$(BIN)/python -m pytest -m soak -s

reference: .venv/run ## docs/reference.md and the schemas for editors, from the table of keys
	$(BIN)/python -c 'from imagematch.config import write_reference; write_reference("docs")'

bench: .venv/dev ## every benchmark, its table printed
	@for program in benchmarks/[a-z]*.py; do echo "== $$program"; $(BIN)/python $$program || exit 1; done

lock:            ## requirements.lock anew from requirements.txt: every package, also theirs, with its hashes
	$(PYTHON) -m venv $(LOCKING) && $(LOCKING)/bin/python -m pip install --quiet uv==0.13.9
	grep -v '^-e' requirements.txt | $(LOCKING)/bin/uv pip compile - --quiet --universal --python-version 3.11 --upgrade \
	    --generate-hashes --no-header --no-annotate --no-emit-index-url --output-file $(LOCKING)/lock
	{ echo '# Made by `make lock` from requirements.txt, for Python 3.11 to 3.13 on every system: do not edit.'; \
	    cat $(LOCKING)/lock; } > requirements.lock

sbom:            ## build/sbom.cdx.json: the software bill of materials of what is locked (CycloneDX), for a release
	$(PYTHON) -m venv $(LOCKING) && $(LOCKING)/bin/python -m pip install --quiet cyclonedx-bom==7.5.0
	$(LOCKING)/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application --output-reproducible \
	    --output-file build/sbom.cdx.json requirements.lock

clean:           ## removes the virtual environment and caches; data/ and exp/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build src/*.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "imagematch needs Python 3.11 to 3.13 (make PYTHON=python3.12 ...)")'
	$(PYTHON) -m venv .venv

.venv/run: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/docs: requirements-docs.txt .venv/run
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/run
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@
