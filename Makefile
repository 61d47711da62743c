# Needs only python3 (>= 3.10) and a package index. uv comes into a private venv and never downloads a Python.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
# more than cores: half of the suite waits for deadlines, servers and child processes
WORKERS ?= 4
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE ?= hardlink

.PHONY: help
help: ## This list
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.uv/.ready-$(UV_VERSION):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "python3 must be 3.10 or newer, this is %d.%d" % sys.version_info[:2])'
	@rm -rf .uv
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/.ready: .uv/.ready-$(UV_VERSION) pyproject.toml uv.lock
	@$(UV) sync --quiet --frozen --all-groups --extra cli --extra kubernetes --python $(PYTHON)
	@touch $@

.PHONY: setup
setup: .venv/.ready ## Everything that developing needs, below this directory

.PHONY: demo
demo: .venv/.ready ## The main job without a GPU: one pod tunes (a recording), the next one finds the result
	@$(BIN)/python examples/demo.py

.PHONY: demo-gpu
demo-gpu: .venv/.ready ## The main job on this machine's GPU, with FlashInfer's own autotuner
	@$(BIN)/python examples/demo.py --gpu

.tools/ministack/.ready: .uv/.ready-$(UV_VERSION) tools/ministack.txt
	@$(UV) venv --quiet --clear --python $(PYTHON) .tools/ministack
	@$(UV) pip install --quiet --python .tools/ministack/bin/python -r tools/ministack.txt
	@touch $@

.tools/fi-%/.ready: tools/flashinfer-%.txt .uv/.ready-$(UV_VERSION)
	@$(UV) venv --quiet --clear --python $(PYTHON) .tools/fi-$*
	@$(UV) pip install --quiet --no-deps --python .tools/fi-$*/bin/python -r $<
	@touch $@

.PHONY: ministack
ministack: .tools/ministack/.ready ## The S3 server of the tests, in its own environment

.PHONY: flashinfer-envs
flashinfer-envs: .tools/fi-0.6.18/.ready .tools/fi-0.7.2/.ready ## torch and two FlashInfer releases, for their real code on CPU

.PHONY: test
test: .venv/.ready ministack flashinfer-envs servers ## Set up and run all tests, but for those that need a cluster (e2e)
	@CI=true $(BIN)/pytest -q -n $(WORKERS) --dist worksteal --ignore tests/chart --ignore tests/kube
	@# each worker of these starts an API server, and a start takes all of a core for seconds
	@CI=true $(BIN)/pytest -q -n 2 --dist loadfile tests/chart tests/kube

.PHONY: test-fast
test-fast: .venv/.ready ministack ## Tests of the program alone: without FlashInfer, chart, image and API server
	@$(BIN)/pytest -q -n $(WORKERS) -m "not flashinfer" --ignore tests/chart --ignore tests/kube --ignore tests/image

.PHONY: sim
SEEDS ?= 20000
sim: .venv/.ready ## The protocol's simulator: SEEDS histories of the product's own code, on all cores
	@$(BIN)/python -m cache_store.testing.simulation $(SEEDS) --jobs $$(nproc)

.PHONY: test-stores
test-stores: .venv/.ready ministack servers ## Both S3 adapters on MinIO, versitygw, radosgw, MiniStack and fauxqs (8 min)
	@$(BIN)/python -m tests.processes.radosgw --check || $(BIN)/python -m tests.processes.radosgw || echo "radosgw is not there: its tests are skipped by name"
	@$(PYTHON) tools/servers/fetch_fauxqs.py || echo "fauxqs is not there: its tests are skipped by name"
	@CI=true $(BIN)/pytest -q -n 2 --dist loadfile tests/stores/live

.PHONY: test-stores-required
test-stores-required: .venv/.ready ministack servers ## The same with MinIO, versitygw and MiniStack alone, which must be there
	@CI=true $(BIN)/pytest -q -n 2 --dist loadfile tests/stores/live -k "not radosgw and not fauxqs"

.PHONY: test-page
test-page: .venv/.ready ## The report page in a real Chromium (Debian's, fetched into .tools)
	@$(BIN)/python -m tests.report_page.chromium --check || $(BIN)/python -m tests.report_page.chromium
	@$(BIN)/pytest -q tests/report_page

.PHONY: screenshots
screenshots: .venv/.ready ## The README's pictures of the report page
	@$(BIN)/python -m tests.report_page.chromium --check || $(BIN)/python -m tests.report_page.chromium
	@$(BIN)/python -m tests.report_page.take_screenshots

.PHONY: test-processes
ROUNDS ?= 200
test-processes: .venv/.ready servers ## Rounds of 16 real pods whose claim holder is killed or stopped (13 min; root)
	@$(BIN)/python -m tests.processes minio --rounds $(ROUNDS)
	@$(BIN)/python -m tests.processes directory-two-uids --rounds 50
	@$(BIN)/python -m tests.processes.radosgw --check || $(BIN)/python -m tests.processes.radosgw
	@$(BIN)/python -m tests.processes radosgw --rounds 50

.PHONY: test-engines
test-engines: .venv/.ready ## The recipe against whole released engines, one after the other (10 GB and minutes each)
	@$(BIN)/python tools/test_engines.py
	@$(BIN)/python tools/test_engines.py vllm

.PHONY: test-newest-engine
test-newest-engine: .venv/.ready ## The same with the newest SGLang alone and without the product of families and checkpoints
	@$(BIN)/python tools/test_engines.py 0.5.23 lines

.PHONY: servers
servers: ## Helm, Kubernetes, MinIO and the chart's tools, built from their Go modules into .tools/bin (16 min once)
	@$(PYTHON) tools/servers/build.py

.PHONY: cluster-up cluster-down
cluster-up: .venv/.ready servers ## A real one-node Kubernetes on this machine (root, Debian)
	@$(BIN)/python -m tools.cluster up
cluster-down: .venv/.ready ## End it
	@$(BIN)/python -m tools.cluster down

.PHONY: test-overlays
test-overlays: .venv/.ready servers ## The overlays against the engines' own charts and a real API server
	@$(BIN)/pytest -q -n 2 tests/overlays

.PHONY: e2e
e2e: .venv/.ready servers ## The image and the chart on a real cluster
	@# a whole cluster on a small machine: what failed is run once more on a fresh one, and both runs are shown
	@$(BIN)/pytest -q tests/e2e tests/image_e2e || $(BIN)/pytest -q --last-failed --last-failed-no-failures none tests/e2e tests/image_e2e

.PHONY: lint
lint: .venv/.ready ## ruff, mypy --strict, import layers, spelling, packaging
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@MYPYPATH=image $(BIN)/mypy --strict image/*.py
	@$(BIN)/mypy --strict helm/autotune-cache/generate.py
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell src tests docs examples tools benchmarks helm image Dockerfile *.md
	@$(BIN)/validate-pyproject pyproject.toml

.PHONY: docs
docs: .venv/.ready ## Regenerate the pages and schemas that come from code
	@$(BIN)/python tools/make_docs.py
	@$(BIN)/python helm/autotune-cache/generate.py

BENCHES := bench-hit bench-peers bench-crowd bench-growth bench-spoiled bench-ops bench-metrics bench-admission bench-fleet
.PHONY: bench $(BENCHES)
bench: $(BENCHES) ## All benchmarks that need no GPU and no cluster, into docs/evidence/ (an hour; nothing else should run)

.tools/peers/.ready: .uv/.ready-$(UV_VERSION) benchmarks/peers.txt
	@$(UV) venv --quiet --clear --python $(PYTHON) .tools/peers
	@# --no-deps: what kserve-storage names besides is for other clouds
	@$(UV) pip install --quiet --no-deps --python .tools/peers/bin/python -r benchmarks/peers.txt
	@touch $@

.tools/otel/.ready: .uv/.ready-$(UV_VERSION) benchmarks/otel.txt
	@$(UV) venv --quiet --clear --python $(PYTHON) .tools/otel
	@$(UV) pip install --quiet --python .tools/otel/bin/python -r benchmarks/otel.txt
	@touch $@

bench-hit: .venv/.ready ministack .tools/peers/.ready ## What a hit costs: time, memory, requests, imports
	@$(BIN)/python benchmarks/hit_path.py

bench-peers: .venv/.ready servers .tools/peers/.ready ## A hit against rclone, s5cmd, boto3 and KServe's storage initializer
	@$(BIN)/python benchmarks/pull_peers.py

bench-crowd: .venv/.ready servers .tools/peers/.ready ## 100 pods at once, beside the same peers
	@$(BIN)/python benchmarks/crowd.py

bench-growth: .venv/.ready servers .tools/peers/.ready ## A hit with more ranks, larger bundles, fuller buckets
	@$(BIN)/python benchmarks/growth.py

bench-spoiled: .venv/.ready servers .tools/peers/.ready ## The same pull from stores that are late, cut or refuse: who leaves what
	@$(BIN)/python benchmarks/spoiled_store.py

bench-ops: .venv/.ready servers .tools/peers/.ready ## What the reading commands of cache-store cost on 10,000 bundles
	@$(BIN)/python -m benchmarks.ops_cli --keep ops-cli

bench-metrics: .venv/.ready .tools/peers/.ready .tools/otel/.ready ## What --otlp-endpoint costs a hit, and what OpenTelemetry's SDK would
	@$(BIN)/python benchmarks/metrics_cost.py --sdk .tools/otel/bin/python

bench-admission: .venv/.ready servers .tools/peers/.ready ## What the label's policies cost a pod's creation
	@$(BIN)/python benchmarks/admission.py

bench-fleet: .venv/.ready servers .tools/peers/.ready ## What waiting for one tune costs 1,000 pods and the store
	@$(BIN)/python -m benchmarks.fleet --keep fleet-1000

.PHONY: sbom
sbom: .venv/.ready ## CycloneDX of what the images carry, in dist/
	@$(BIN)/python image/make_sbom.py dist/sbom.cdx.json

.PHONY: build
build: .venv/.ready ## Wheel and sdist
	@$(UV) build --quiet

.PHONY: clean
clean: ## Remove everything that make has made
	@! [ -x $(BIN)/python ] || $(BIN)/python -m tools.cluster down  # its mounts lie below .tools
	rm -rf .venv .uv .tools .demo .demo-gpu dist
