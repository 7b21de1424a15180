# Millrace. Every target that needs .venv sets it up first; `make` alone lists them.
#
# Settings, as `make test JOBS=4` or in the environment:
#   JOBS               test processes (2)
#   FUZZ_MINUTES       how long `make fuzz` goes on (10)
#   ARGS               more arguments for the command that a target runs
#   PYTHON             the Python that .venv is made from
#   IMAGE_PREFIX, IMAGE_TAG, BASE_IMAGE, DOCKER_BUILD_ARGS, DOCKER     for `make images`
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
BIN := .venv/bin
JOBS ?= 2
FUZZ_MINUTES ?= 10
ARGS ?=
DOCKER ?= docker
export IMAGE_PREFIX ?= millrace
export IMAGE_TAG ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' millrace/version.py)
# A test that hangs fails, with the stack of every thread.
PYTEST := python -m pytest --timeout 300
PARALLEL := -n $(JOBS) --dist worksteal
CHECKED := bench components millrace pipelines scripts setup.py tests

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## make .venv ready; the other targets do this by themselves
	@scripts/setup.sh

data/flights.csv: | setup
	@$(BIN)/python -m millrace.pipelines.flights.data $@

# ---- Use it

.PHONY: run
run: setup data/flights.csv ## run the flights pipeline on 336,776 real rows
	@$(BIN)/millrace run flights --param data_uri=data/flights.csv $(ARGS)

.PHONY: compile
compile: setup ## compile the pipelines to pipeline.yaml
	$(BIN)/millrace compile pipelines/flights
	$(BIN)/millrace compile pipelines/tabular

# ---- Work on it

.PHONY: test
test: setup ## run the tests but slow ones and those in containers, and report coverage
	$(BIN)/$(PYTEST) $(PARALLEL) -m "not docker and not slow" --cov --cov-report=term:skip-covered $(ARGS)

.PHONY: test-slow
test-slow: setup ## run the tests that `make test` leaves out because they are slow
	$(BIN)/$(PYTEST) $(PARALLEL) --timeout 900 -m "slow and not docker" $(ARGS)

# Each round draws other examples. What one finds, the next tries first (.hypothesis/), so fix it or stop.
.PHONY: fuzz
fuzz: setup ## draw new examples for the property tests, for FUZZ_MINUTES; what they find becomes an @example
	@end=$$((SECONDS + 60 * $(FUZZ_MINUTES))) failed=0; \
	while ((SECONDS < end)); do \
	  $(BIN)/python -m pytest $(PARALLEL) -m "hypothesis and not docker" --hypothesis-profile fuzz $(ARGS) || failed=1; \
	done; exit $$failed

.PHONY: test-docker
test-docker: setup ## run the tests of the images, which `make images` built
	$(BIN)/$(PYTEST) -m docker $(ARGS)

.PHONY: test-current
test-current: ## run the tests on the current dependency line, in a container
	python3 scripts/images.py test $(DOCKER_BUILD_ARGS)
	$(DOCKER) run --rm --network host --user "$$(id -u):$$(id -g)" --volume "$(CURDIR):/src:ro" \
	  --env HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis $(IMAGE_PREFIX)-test:$(IMAGE_TAG) \
	  $(PYTEST) $(PARALLEL) -p no:cacheprovider -W default -m "not docker and not slow" $(ARGS)

.PHONY: lint
lint: setup ## check style, types, and which way imports go
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/check_types.py

.PHONY: format
format: setup ## put the code into its style
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

.PHONY: docs
docs: setup ## write the READMEs of the steps from their component.py
	$(BIN)/python scripts/make_docs.py

.PHONY: bench
bench: setup data/flights.csv ## measure the flights pipeline; ARGS="--tfx DIR" measures TFX beside it
	$(BIN)/python bench/bench.py $(ARGS)

.PHONY: bench-runner
bench-runner: setup ## measure what tasks cost beside kfp.local; ARGS="--kfp PYTHON" names the Python with that kfp
	$(BIN)/python bench/runner.py $(ARGS)

.PHONY: constraints
constraints: setup ## resolve constraints/*.txt anew; ARGS=--upgrade takes the newest versions
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/constraints.py $(ARGS)

# ---- Containers and Kubernetes

.PHONY: images
images: ## build the images of the steps
	python3 scripts/images.py steps $(DOCKER_BUILD_ARGS)

.PHONY: manifests-check
manifests-check: setup ## build the Kubernetes manifests and validate every object
	$(BIN)/python scripts/check_manifests.py

.PHONY: clean
clean: ## remove what was made, except for .venv, data/ and runs
	rm -rf build dist *.egg-info .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
