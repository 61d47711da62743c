"""Who runs each command line of the pages. One row may speak for many lines; a line that no row, or more than one row,
speaks for fails test_command_lines.py."""

import re
from dataclasses import dataclass
from typing import Literal

How = Literal["here", "name", "api server", "test", "gate", "nowhere"]


@dataclass(frozen=True)
class Row:
    """`page` and `text` are regular expressions that have to fit wholly (text: of the line without its comment).

    how: here: test_command_lines.py runs it on a real S3 server | name: no whole command line, but the name of a command: its
    --help is run, which has to know the flags | api server: tests/kube/test_pages_on_api_server.py runs it | test: `by`
    collects it from the page by its name `collects`, and runs it | gate: a make target that .ci/run runs | nowhere: `reason`
    """

    page: str
    text: str
    how: How
    by: str = ""
    collects: str = ""
    reason: str = ""

    def fits(self, told):
        text = re.sub(r"\s+# .*", "", told.text)
        return bool(re.fullmatch(self.page, told.page) and re.fullmatch(self.text, text, re.DOTALL))


ANY = r".*"
RUNBOOK = r"docs/runbook\.md"
OVERLAYS = r"docs/attach-overlays\.md"
EVIDENCE = r"docs/evidence/.*\.md"
CLUSTER = r"tools/cluster/README\.md"
NOT_RUNBOOK = rf"(?!{RUNBOOK}|{OVERLAYS}|docs/install\.md).*"
# what stands below those targets costs hours, whole engines, or a machine's network
NOT_IN_THE_GATE = "make (bench|bench-[a-z]+|test-fast|demo-gpu|test-engines|test-processes|test-stores|sbom)"

ROWS = (
    # -- our programs
    Row(ANY, r"autotune-init (run|key|facts)\b.*", "here"),
    Row(ANY, r"autotune-init fleet( prewarm)?", "name"),
    Row(ANY, r"autotune-init fleet( prewarm)? --.*", "api server"),
    Row(ANY, r"cache-store (doctor|ls|verify|claims|stats)( --?\w.*)?", "here"),
    Row(ANY, r"cache-store (show|verify|retire|quarantine|restore|unlock|export|import) (?!--)\S.*", "here"),
    Row(ANY, r"cache-store gc( --[a-z-]+ \S+)+", "here"),
    Row(ANY, r"cache-store (retire|import|gc)( --[a-z-]+)?", "name"),
    Row(ANY, r"source <\(cache-store completion bash\)", "here"),
    Row(ANY, r"python -m cache_store\.testing\.simulation --tell SEED", "here"),
    # -- the pages that have tests of their own
    Row(r"docs/install\.md", r"docker (build|push) .+", "nowhere", reason="a registry of one's own; tests/image_e2e build the "
        "same Dockerfile with buildah"),
    Row(r"docs/install\.md", r"(?!helm (install|test)$|autotune-init|docker|make|cache-store).+", "test", "tests/e2e/test_install_page.py", "blocks"),
    Row(RUNBOOK, r"kubectl .+", "test", "tests/kube/test_runbook.py", "KUBECTL"),
    Row(OVERLAYS, r"(?!docker|pytest|python -m).+", "test", "tests/overlays/test_page.py", "TYPED"),
    Row(OVERLAYS, r"docker build --target engine .+", "nowhere", reason="it pulls an engine's image; "
        "tests/image_e2e/test_images.py builds the same target with buildah"),
    Row(OVERLAYS, r"python -m tools\.charts\.fetch", "nowhere", reason="downloads; tests/overlays call it from Python"),
    Row(r"docs/cli-cache-store\.md", r"(export AUTOTUNE_TO_|cache-store --store \S+ cp ).+", "test",
        "tests/stores/live/test_two_servers.py", "TYPED"),
    # -- helm and kubectl on the other pages
    Row(r".*README\.md", r"(helm install|kubectl --namespace models patch) .+", "api server"),
    Row(r"(?!docs/runbook).*", r"(helm (install|test|uninstall)|kubectl (apply|describe pod))", "api server"),
    # -- make
    Row(ANY, r"make (demo|build|test|test-page|e2e|lint|setup|servers|test-overlays|sim( SEEDS=\S+)?)", "gate"),
    Row(ANY, r"make docs", "nowhere", reason="it writes into the tree; test_docs.py runs its programs with --check"),
    Row(ANY, NOT_IN_THE_GATE + r"( [A-Z]+=\S+)?", "nowhere", reason="hours, whole engines, other servers or a GPU"),
    # -- one whole cluster a machine
    Row(CLUSTER, r".*\.venv/bin/python -m tools\.cluster (up|env|down).*", "nowhere", reason="it needs root; tests/e2e "
        "do the same from Python"),
    Row(ANY, r"python tools/make_recording\.py", "nowhere", reason="it writes into the tree; test_pictures.py reads it"),
    # -- how a number was measured
    Row(EVIDENCE, r"python tests/gpu/.+", "nowhere", reason="it needs a GPU with torch and FlashInfer"),
    Row(EVIDENCE, r"python benchmarks/(gpu_start|pod_start)\.py.*", "nowhere", reason="it needs a GPU or a cluster"),
    Row(EVIDENCE, r"python -m benchmarks\.ops_cli .+", "nowhere", reason="a quarter of an hour, and s5cmd"),
    Row(EVIDENCE, r"python tools/(count_sglang_answers|test_engines)\.py.*", "nowhere", reason="minutes, or whole engines"),
    Row(EVIDENCE, r"python -m tests\.processes .+", "nowhere", reason="a quarter of an hour, root, and for one radosgw"),
    Row(ANY, r"pytest .+", "nowhere", reason="these tests are run by make targets of their own"),
    # -- what only a reader's own machine has
    Row(ANY, r"pip install 'dist/autotune_cache-.+\[.+\]'", "nowhere", reason="into the reader's Python; the extras are looked up"),
    Row(r"docs/bucket-layout\.md", r"aws s3 cp .+ \| jq \.identity", "nowhere", reason="the AWS CLI, and an account"),
    Row(RUNBOOK, r"nvidia-smi -L", "nowhere", reason="it needs a GPU"),
)  # fmt: skip


def rows_for(told):
    return [row for row in ROWS if row.fits(told)]
