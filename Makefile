# Two commands for a fresh machine: `make up` and `make test`. Both do all set-up by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
TINH := $(VENV)/bin/tinh
UV_VERSION := 0.13.9
# OS packages that the lab and the closed-network build need
PACKAGES := podman runc netavark conmon catatonit iptables nftables iproute2 openssh-client mmdebstrap \
	ca-certificates curl maven openjdk-17-jre-headless dnsutils git

define install
missing=(); for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing+=($$p); done; \
if (( $${#missing[@]} )); then echo "installing: $${missing[*]}"; \
  apt-get update -qq || echo "note: not every package source answered"; \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $${missing[@]} >/dev/null; fi
endef

.PHONY: help env host host-test up down test unit sim-test lab-test lint format bench lock clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

env: $(VENV)/.locked ## Make the Python environment only (seconds)

$(VENV)/.locked: requirements.lock pyproject.toml
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(VENV)/bin/uv --version 2>/dev/null | grep -qF ' $(UV_VERSION)' || $(VENV)/bin/pip install --quiet uv==$(UV_VERSION)
	@$(VENV)/bin/uv pip sync --quiet --require-hashes --python $(PY) requirements.lock
	@$(VENV)/bin/uv pip install --quiet --no-deps --python $(PY) --editable .
	@$(PY) -m compileall -q $(VENV)/lib cli infra lab stacks || echo "note: some packages ship files for other Python versions"
	@touch $@

host: ## Install the OS packages that are missing
	@$(call install,$(PACKAGES))

host-test: host ## ... and the browser that looks at the map
	@$(call install,chromium-headless-shell)

up: host env ## Bring everything up: toolchain, lab, layers
	@$(TINH) up --yes

down: env ## Remove the lab
	@$(TINH) lab down

unit: env ## Tests that need no engine (seconds)
	@$(PY) -m pytest -q -n 2 -m "not lab and not sim" tests

sim-test: env ## Tests on the sim (control plane processes)
	@$(PY) -m pytest -q -m "sim" tests

lab-test: host env ## Acceptance on the lab; brings it up if it is down
	@$(PY) -m pytest -q --durations=30 --durations-min=10 -m "lab" tests

# What the tests on sim and lab need is built beside those before, which leave the cores idle half of the time.
test: host-test env ## All tests
	@nice $(TINH) toolchain get --quiet --keep-going --stage sim & build=$$!; \
	trap 'kill $$build 2>/dev/null || true' EXIT; \
	$(MAKE) --no-print-directory lint unit sim-test lab-test

lint: env ## Format check, lint, types
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ty check --quiet

format: env ## Format and fix
	@$(VENV)/bin/ruff format --quiet .
	@$(VENV)/bin/ruff check --fix --quiet .

bench: env ## Timings side by side with what one would use instead
	@$(PY) -m tests.bench

lock: ## Write the lock files anew: ours from pyproject.toml, those of images from their requirements.in
	@$(VENV)/bin/uv pip compile --quiet pyproject.toml --extra dev --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --universal --python-version 3.11 --upgrade -o requirements.lock
	@for folder in platforms/plone/image lab/toolchain/barman; do \
	  $(VENV)/bin/uv pip compile --quiet $$folder/requirements.in --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --only-binary :all: --python-version 3.11 --no-emit-package psycopg2 \
	    --python-platform x86_64-manylinux_2_36 --upgrade -o $$folder/requirements.lock; done

clean: ## Remove the Python environment
	rm -rf $(VENV)
