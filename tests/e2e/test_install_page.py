"""docs/install.md, command by command, as a reader would copy it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.fleet import ROOT, deployment, engine, pod_spec, pods_of, report_of, values
from tools.cluster.s3_server import make_bucket

PAGE = ROOT / "docs" / "install.md"


def blocks():
    """The shell commands of the page, in order."""
    return re.findall(r"```sh\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def flags_of(tree, path=()):
    """Values as helm's flags: what a reader with another bucket and registry would set."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flags_of(value, (*path, name))
        else:
            yield f"--set-json={'.'.join((*path, name))}={json.dumps(value)}"


def test_the_page_when_followed_word_by_word_then_the_pod_finds_its_kernels_and_nothing_is_left(
    kubectl, minio, slim_image, engine_image, scratch_namespaces
):
    models = kubectl.within("models")
    own = values(slim_image, minio)
    shutil.rmtree(minio.server.folder / "models", ignore_errors=True)
    make_bucket(minio.server, "models")
    for said_on_the_page in ("url", "region", "existingSecret"):
        del own["store"][said_on_the_page]
    # helm reads --set after --set-json: what the page sets is replaced in its own words
    repository = own["image"].pop("repository")
    facts = own.pop("gpu")["facts"]
    readers_own = [*flags_of(own), f"--set-literal=gpu.facts={facts}", "--wait"]
    environ = {**kubectl.environ, **minio.settings}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    said = []

    def run(block):
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", block],
            cwd=ROOT, env=environ, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}\n{models.picture()}"
        said.append(done.stdout)

    for block in blocks():
        if block.startswith("docker build"):
            continue  # the fixture has built the same Dockerfile by buildah; this machine has no daemon and no registry
        if block.startswith("helm install"):
            # the deployment that a reader has already
            models.apply(deployment("qwen3", pod_spec(engine(engine_image)), labels={}))
            models.wait_rolled_out("qwen3")
            block = block.replace("registry.example.com/autotune-cache", repository)  # noqa: PLW2901 -- the reader's own registry
            run(f"{block.rstrip()} {shlex.join(readers_own)}")
            continue
        if block.startswith("helm uninstall"):
            (pod,) = pods_of(models, "qwen3")
            assert report_of(pod)["outcome"] == "tuned"
        run(block)

    assert len(said) == 7
    assert "It tunes here" in said[0]
    assert '"outcome":"tuned"' in said[5]
    assert "injected" in said[5]
    assert not kubectl.run("get", "mutatingadmissionpolicies", "-o", "name")
