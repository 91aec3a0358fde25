# make            an environment in .venv with deepmerge in it
# make help       everything else

VENV       := .venv
CAFFE_VENV := .venv-caffe
BIN        := $(VENV)/bin
PIP        := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
PACKAGING  := setup.cfg setup.py pyproject.toml constraints.txt proto/caffe.proto

# Interpreters to try, in order. `pyenv root` and the like are only run when an environment is made.
PYENV_VERSIONS = $(addsuffix /versions,$(shell pyenv root 2>/dev/null))
uv-pythons     = $(foreach version,$(1),$(shell uv python find $(version) 2>/dev/null))

NEW         := 3.10 3.11 3.12 3.13 3.14
NEW_PYTHONS  = $(or $(PYTHON),python3 $(NEW:%=python%) $(wildcard $(NEW:%=$(PYENV_VERSIONS)/%.*/bin/python)) $(call uv-pythons,$(NEW)))

OLD         := 3.9 3.8 3.7
OLD_PYTHONS  = $(or $(CAFFE_PYTHON),$(OLD:%=python%) python3 $(wildcard $(OLD:%=$(PYENV_VERSIONS)/%.*/bin/python)) \
               $(call uv-pythons,$(OLD)) $(wildcard $(addsuffix /envs/*/bin/python,$(shell conda info --base 2>/dev/null))))

# $(call first-python,CANDIDATES,VERSIONS): shell code that prints the first candidate that is of these versions, really runs
# (pyenv's shims may not) and can make environments (Debian's python3 needs python3-venv for that).
first-python = for python in $(1); do \
    $$python -c 'import sys, ensurepip, venv; sys.exit("%d.%d" % sys.version_info[:2] not in "$(2)".split())' 2>/dev/null \
    && { echo $$python; break; }; done

.PHONY: venv demo tables test test-all test-report fuzz pitfalls test-protobuf caffe lint docs dist clean help
.DELETE_ON_ERROR:

venv: $(VENV)/.installed  ## make an environment in .venv with deepmerge in it (PYTHON=... chooses the interpreter)

$(BIN)/python:
	@python=$$($(call first-python,$(NEW_PYTHONS),$(NEW))); \
	if [ -z "$$python" ]; then \
	    echo "no Python 3.10 or newer with venv was found; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; fi; \
	$$python -m venv $(VENV)

$(VENV)/.installed: $(PACKAGING) | $(BIN)/python
	$(PIP) -e .
	@touch $@

# The same with the tests' needs; also what `venv` asks for, so that neither undoes the other.
$(VENV)/.installed-test: $(PACKAGING) | $(BIN)/python
	$(PIP) -e '.[test,choose,h5,torch,plot,bench,ncnn]'
	@touch $@ $(VENV)/.installed

NET := models/inception_mini/inception_mini
demo: venv  ## convert the small trained network in models/, exactly and with merging, and check it
	$(BIN)/deepmerge convert $(NET).prototxt $(NET).caffemodel --exact -o demo/exact --force
	$(BIN)/deepmerge verify $(NET).prototxt $(NET).caffemodel demo/exact/deploy.prototxt demo/exact/weights.caffemodel
	$(BIN)/deepmerge convert $(NET).prototxt $(NET).caffemodel -o demo/merged --force

# Measurements are kept in benchmarks/measured/, so that a stopped run continues. Delete that folder to start again.
SECONDS := 8
LIMIT   := 500
tables: $(VENV)/.installed-test caffe  ## measure the paper's tables into benchmarks/RESULTS.md (ZOO=dir DATA=SPEC RECOVERED=dir SECONDS=8 LIMIT=500)
	$(PIP) netron  # whose parser benchmarks/opens.py tries, where Node.js is
	$(BIN)/python benchmarks/tables.py --seconds $(SECONDS) --limit $(LIMIT) \
	    $(if $(ZOO),--zoo $(ZOO)) $(if $(DATA),--data $(DATA)) $(if $(RECOVERED),--recovered $(RECOVERED)) $(if $(TABLES),--tables $(TABLES))

# A process for each core. More threads, and those that spin while they wait, would take the core from another process's.
PYTEST := OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: $(VENV)/.installed-test caffe lint test-protobuf  ## lint and run the tests, with real Caffe where it can be installed
	$(PYTEST) -q

test-all: $(VENV)/.installed-test caffe  ## run the slow tests as well
	$(PYTEST) -q -m ""

# Chromium and its driver: those on PATH, or Debian's.
test-report: $(VENV)/.installed-browser  ## test the report page in a real browser (SCREENSHOTS=dir keeps pictures)
	@if ! command -v chromedriver >/dev/null; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; \
	    else echo "no browser: install chromium and chromedriver (Debian: chromium, chromium-driver)" >&2; exit 1; fi; fi
	DEEPMERGE_REQUIRE_BROWSER=1 DEEPMERGE_SCREENSHOTS=$(SCREENSHOTS) $(BIN)/python -m pytest -q -p no:cacheprovider -m browser tests/page

$(VENV)/.installed-browser: $(PACKAGING) | $(BIN)/python
	$(PIP) -e '.[test,browser]'
	@touch $@ $(VENV)/.installed

pitfalls: $(VENV)/.installed-test caffe  ## show, row by row, what real Caffe files do and which tests cover it
	$(BIN)/python -m pytest -q --pitfalls

FUZZ_SECONDS := 600
fuzz: $(VENV)/.installed-fuzz  ## fuzz the readers and names for FUZZ_SECONDS=600; failing files go to fuzz-findings/
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) --findings fuzz-findings

$(VENV)/.installed-fuzz: $(PACKAGING) | $(VENV)/.installed-test
	$(PIP) -e '.[test,choose,h5,torch,plot,bench,ncnn,fuzz]'
	@touch $@

lint: $(VENV)/.installed-test  ## check ruff's rules, the format and the import contracts
	$(BIN)/ruff check -q .
	$(BIN)/ruff format -q --check .
	$(BIN)/lint-imports --no-cache >.lint-imports.log || { cat .lint-imports.log; exit 1; }

docs: $(VENV)/.installed-docs  ## build the documentation into docs/_build/html; warnings and broken links are errors
	$(BIN)/python -m sphinx -W --keep-going -n -q docs docs/_build/html

$(VENV)/.installed-docs: $(PACKAGING) | $(BIN)/python
	$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/.installed

# The oldest and the newest Python that are installed. Each gets the wheel in an empty environment and runs the demo there.
pythons      = $(foreach version,$(1),$(shell $(call first-python,$(NEW_PYTHONS),$(version))))
DIST_PYTHONS = $(firstword $(call pythons,$(NEW))) $(lastword $(call pythons,$(NEW)))
dist: $(VENV)/.installed-dist  ## build the sdist and the wheel, check them, and try them in empty environments
	rm -rf build dist
	$(BIN)/python -m build -q
	$(BIN)/twine check --strict dist/*
	@for python in $(DIST_PYTHONS); do tests/dist.sh $$python || exit 1; done

$(VENV)/.installed-dist: $(PACKAGING) | $(BIN)/python
	$(PIP) build twine
	@touch $@

# One protobuf of each major version, each in its own folder, which goes before the environment's.
PROTOBUFS      := 4.21.12 4.25.9 5.29.6 6.33.6 7.36.1
PROTOBUF_TESTS := tests/formats/test_schema.py tests/data/test_sources.py \
                  $(foreach name,caffemodel scalars wire,tests/formats/read/test_$(name).py) \
                  $(foreach name,caffemodel prototxt wire,tests/formats/write/test_$(name).py)

test-protobuf: $(PROTOBUFS:%=$(VENV)/protobuf/%)  ## test reading and writing with protobuf 4, 5, 6 and 7
	@for version in $(PROTOBUFS); do \
	    echo "protobuf $$version"; \
	    PYTHONPATH=$(VENV)/protobuf/$$version $(BIN)/python -c "import google.protobuf as p; assert p.__version__ == '$$version', p" && \
	    PYTHONPATH=$(VENV)/protobuf/$$version $(BIN)/python -m pytest -q -p no:cacheprovider -k 'not real_caffe or field_by_field' $(PROTOBUF_TESTS) || exit 1; \
	done

$(VENV)/protobuf/%: | $(VENV)/.installed-test
	@$(BIN)/python -m pip --disable-pip-version-check install -q --no-deps --target $@ protobuf==$*

caffe:  ## install real Caffe in .venv-caffe (needs CPython 3.7-3.9 on x86-64 Linux; CAFFE_PYTHON=... chooses it)
	@if [ -n "$$DEEPMERGE_CAFFE_PYTHON" ] || [ -e $(CAFFE_VENV)/.installed ]; then exit 0; fi; \
	python=$$($(call first-python,$(OLD_PYTHONS),$(OLD))); \
	if [ -z "$$python" ]; then \
	    echo "no real Caffe: it takes CPython 3.7, 3.8 or 3.9 on x86-64 Linux; get one (\`uv python install 3.9\`, \`pyenv install 3.9\`)" \
	         "and run \`make caffe\`, or set DEEPMERGE_CAFFE_PYTHON" >&2; \
	elif ! { $(call make-caffe,$$python); }; then \
	    echo "no real Caffe: $$python could not install it, see above; set DEEPMERGE_CAFFE_PYTHON to a python that can \`import caffe\`" >&2; \
	fi; \
	[ -e $(CAFFE_VENV)/.installed ] || [ "$$DEEPMERGE_REQUIRE_CAFFE" != 1 ]

# The last numpy and protobuf that this Caffe's compiled parts work with.
make-caffe = rm -rf $(CAFFE_VENV) && $(1) -m venv $(CAFFE_VENV) && \
    case $$($(1) -c 'import sys; print(sys.version_info[1])') in 7) numpy=1.21.6;; *) numpy=1.23.5;; esac && \
    $(CAFFE_VENV)/bin/python -m pip --disable-pip-version-check install -q kendryte-caffe numpy==$$numpy protobuf==3.20.3 && \
    $(CAFFE_VENV)/bin/python -c 'import caffe' && touch $(CAFFE_VENV)/.installed

clean:  ## remove everything that make has made
	rm -rf $(VENV) $(CAFFE_VENV) demo docs/_build docs/_generated benchmarks/measured fuzz-findings build dist *.egg-info deepmerge/formats/caffe.desc .lint-imports.log .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 16
