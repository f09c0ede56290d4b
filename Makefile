# Everything a developer runs. Each target sets up what it needs in .venv, from the locked requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/ready ## start the real webhook, send it four recorded pods, show each decision
	@$(BIN)/tokenguard demo

.PHONY: test
test: JOBS ?= $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN) * 3 + 1) / 2 )))
test: $(VENV)/ready ## run all tests, in JOBS processes of a GiB each (three for two CPUs, as they often wait); or only T=FILE
	$(BIN)/pytest $(or $(T),$(if $(filter-out 1,$(JOBS)),-n $(JOBS)))

# Tests that start no server and no other process, without the long ones.
UNIT := tests/audit tests/core tests/pki tests/scan tests/tokens \
	--ignore-glob='*/test_large_*.py' --ignore=tests/core/test_kubectl_yaml.py --ignore=tests/audit/test_schema.py

.PHONY: test-unit
test-unit: $(VENV)/ready ## run the tests that need neither a server nor a cluster, in less than a minute
	$(BIN)/pytest $(UNIT)

# From a copy, so that no extension module is left beside the sources.
.PHONY: compile
compile: $(VENV)/ready ## compile the evaluation with mypyc into build/compiled; needs a C compiler; see CONTRIBUTING.md
	rm -rf build/compiled build/source && mkdir -p build/compiled build/source
	cp -r webhook pyproject.toml setup.py README.md build/source
	TOKENGUARD_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
		--no-build-isolation --no-compile --target build/compiled build/source/
	cd build/compiled && $(abspath $(BIN))/python -m webhook.compiled

.PHONY: test-compiled
test-compiled: compile ## run the golden cases and the tests of the evaluation against build/compiled
	cp -r tests pyproject.toml docs README.md manifests build/compiled
	cd build/compiled && $(abspath $(BIN))/pytest -p no:cacheprovider tests/core tests/audit/test_record.py \
		tests/server/test_recorded.py tests/server/test_review.py

.PHONY: lint
lint: $(VENV)/ready ## linter, formatter, type checker and layer checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/ready ## format the code, and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(VENV)/ready ## write the generated documentation: docs/cli.md, docs/rules.md, the table of rules in README.md
	$(BIN)/python -m tests.generated_docs

.PHONY: chart
chart: $(VENV)/ready ## write the generated files of charts/tokenguard: the objects from manifests/, by kubectl, and the values' schema
	$(BIN)/python -m tests.generated_chart

.PHONY: bench
bench: $(VENV)/ready ## measure what a review costs, against baselines in the same run; see docs/performance.md
	$(BIN)/python -m tests.bench $(PARTS)

.PHONY: soak
soak: MINUTES ?= 10
soak: $(VENV)/ready ## run for MINUTES (10) under load with edits, rotations and kills; see docs/performance.md
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

.PHONY: fuzz
fuzz: MINUTES ?= 1
fuzz: $(VENV)/ready ## send it random reviews and policies, for MINUTES (1); see CONTRIBUTING.md
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

.PHONY: equality
equality: $(VENV)/ready ## compare exported policies with the webhook on a real API server, with 1,000 random policies: half an hour
	EQUALITY_POLICIES=1000 $(BIN)/python -m pytest -s tests/control_plane/test_policy_export.py

.PHONY: lock
lock: $(VENV)/ready ## write the locked requirements from pyproject.toml
	$(BIN)/uv pip compile $(LOCK) --extra fast pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile $(LOCK) --extra dev --extra fast --group build -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile $(LOCK) --group build -c requirements/dev.txt -o requirements/build.txt

LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade

# No part of 'make lint', which needs no network. --strict: else what the advisories' server doesn't know passes for clean.
.PHONY: audit-deps
audit-deps: $(VENV)/ready ## look up known vulnerabilities of the locked packages; needs a network
	@found=$$(mktemp) && trap 'rm -f "$$found"' EXIT && \
	if $(AUDIT) --requirement requirements/run.txt --output "$$found"; then \
		echo "no known vulnerability in requirements/run.txt"; \
	elif [ -s "$$found" ]; then \
		cat "$$found"; exit 1; \
	else \
		echo "make audit-deps: nothing was audited: the advisories can't be had (see above); run it where there is a network" >&2; \
		exit 2; \
	fi

AUDIT = $(BIN)/uv tool run --quiet --from pip-audit==2.10.1 pip-audit \
	--strict --require-hashes --disable-pip --progress-spinner off

# No part of 'make lint', as above.
.PHONY: lint-workflows
lint-workflows: $(VENV)/ready ## check the workflows of GitHub Actions; needs a network
	$(BIN)/uv tool run --quiet check-jsonschema==0.39.0 --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	$(BIN)/uv tool run --quiet check-jsonschema==0.39.0 --builtin-schema vendor.github-actions action.yml
	$(BIN)/uv tool run --quiet zizmor==1.32.0 --offline .github/workflows action.yml

.PHONY: image
image: needs-builder ## build the container image: IMAGE, BASE, SOURCE, BUILDER, BUILD_FLAGS; see docs/install.md
	$(BUILDER) build $(STAMP) --tag $(IMAGE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) $(LABELS) \
		$(if $(BASE),--build-arg BASE=$(BASE)) $(BUILD_FLAGS) .

.PHONY: needs-builder
needs-builder:
	@test -n "$(BUILDER)" || { echo "make image needs podman, buildah, or docker with its engine running:" \
		"install one of them, or name it: make image BUILDER=..." >&2; exit 1; }

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null)
IMAGE ?= tokenguard:$(VERSION)
BUILDER ?= $(shell for builder in docker podman buildah; do \
	$$builder version >/dev/null 2>&1 && { echo $$builder; break; }; done)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
STAMP = --build-arg SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
	$(if $(filter docker,$(notdir $(firstword $(BUILDER)))),,--timestamp $(SOURCE_DATE_EPOCH))
# The labels that only some builds can have: where the source is, and which base it was.
LABEL = --label org.opencontainers.image.
LABELS = $(LABEL)created=$(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null) \
	$(if $(SOURCE),$(LABEL)source=$(SOURCE) $(LABEL)url=$(SOURCE) $(LABEL)documentation=$(SOURCE)/blob/$(REVISION)/README.md) \
	$(if $(findstring @,$(BASE)),$(LABEL)base.digest=$(lastword $(subst @, ,$(BASE))))

# From the digest of an archive that is pushed as it is, install.yaml knows the digest of the image in the registry.
.PHONY: image-archive
image-archive: image ## build the image and write it to ARCHIVE, in the OCI's format
	@mkdir -p $(dir $(ARCHIVE))
	@rm -f $(ARCHIVE)
	$(ARCHIVE_IMAGE)

ARCHIVE ?= build/image.oci.tar
ARCHIVE_IMAGE = $(if $(findstring buildah,$(BUILDER)),$(BUILDER) push $(IMAGE) oci-archive:$(ARCHIVE),$(if \
	$(findstring podman,$(BUILDER)),$(BUILDER) save --format oci-archive --output $(ARCHIVE) $(IMAGE),$(BUILDER) save --output $(ARCHIVE) $(IMAGE)))

.PHONY: release
release: $(VENV)/ready ## write all that a release consists of to dist: VERSION, IMAGE (without a tag), ARCHIVES, SOURCE; see docs/releases.md
	@$(BIN)/python release/artifacts.py --version $(VERSION) --check
	$(if $(ARCHIVES),,$(MAKE) image-archive IMAGE=$(IMAGE):$(VERSION))
	@$(BIN)/python release/artifacts.py --version $(VERSION) --image $(IMAGE) --source "$(SOURCE)" $(or $(ARCHIVES),$(ARCHIVE))

.PHONY: e2e
e2e: $(VENV)/ready ## run the end-to-end tests in the cluster of KUBECONFIG, with IMAGE; see CONTRIBUTING.md
	TOKENGUARD_E2E_IMAGE=$(IMAGE) TOKENGUARD_E2E_NEXT_IMAGE=$(NEXT_IMAGE) TOKENGUARD_E2E_RESTART_NODE="$(RESTART_NODE)" \
		$(BIN)/pytest -rs $(or $(T),tests/end_to_end)

.PHONY: needs-kind
needs-kind:
	@command -v kind >/dev/null || { echo "make kind needs kind (https://kind.sigs.k8s.io) and docker" >&2; exit 1; }

.PHONY: kind
kind: needs-kind $(VENV)/ready image ## run 'make e2e' in a kind cluster of its own, which is deleted afterwards
	tests/kind/run.sh $(IMAGE) $(IMAGE)-next $(MAKE) e2e IMAGE=$(IMAGE) NEXT_IMAGE=$(IMAGE)-next RESTART_NODE='docker restart'

.PHONY: clean
clean: ## remove what the other targets created
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tokenguard needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "setting up $(VENV) (once)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
