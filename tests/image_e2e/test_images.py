"""The two images, built from the Dockerfile. Needs root and buildah; `make e2e` runs it."""

import hashlib
import json
import os

import pytest
from tests.image_e2e.containers import build, bytes_of, config_of, mounted
from tests.pods import ENGINE
from tools.cluster.base_images import make_base
from tools.cluster.images import buildah

from cache_store.version import __version__


@pytest.fixture(scope="module")
def root_of():
    """root_of(IMAGE) -> its root file system; unmounted at the end."""
    containers, roots = [], {}

    def root(image):
        if image not in roots:
            roots[image], container = mounted(image)
            containers.append(container)
        return roots[image]

    yield root
    for container in containers:
        buildah("rm", container)


@pytest.fixture(scope="module")
def slim_image():
    if os.geteuid() != 0:
        pytest.fail("building and mounting images needs root", pytrace=False)
    return build("slim")


@pytest.fixture(scope="module")
def slim(slim_image, root_of):
    return root_of(slim_image)


@pytest.fixture
def volume(tmp_path):
    """An emptyDir: anybody may write."""
    path = tmp_path / "volume"
    path.mkdir()
    path.chmod(0o777)
    return path


def test_slim_says_who_it_is_and_runs_as_nobody(slim_image):
    config = config_of(slim_image)

    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/opt/autotune/start"]
    assert config["Labels"]["org.opencontainers.image.title"] == "autotune-cache"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__


def test_slim_adds_at_most_120_mb(slim):
    assert bytes_of(slim.path / "opt") + bytes_of(slim.path / "usr/share/doc/autotune-cache") <= 120_000_000


def test_slim_copies_runs_and_serves_operators_without_a_shell_on_a_read_only_root(slim, volume):
    copied = slim.run(volume, "/opt/autotune/start", "copy", "/tmp/program")
    ran = slim.run(
        volume, "/opt/autotune/start", "run", "--store", "file:///tmp", "--cache-dir", "/tmp/cache"
    )
    version = slim.run(volume, "autotune-init", "--version")
    store = slim.run(volume, "/opt/autotune/start", "store", "--version")
    listed = slim.run(volume, "cache-store", "--store", "file:///tmp", "ls")
    written = slim.run(volume, "python3", "-c", "open('/opt/autotune/x', 'w')")

    assert json.loads(copied.stdout)["outcome"] == "complete"
    assert (ran.returncode, json.loads(ran.stdout)["reason"]) == (0, "environment-no-gpu")
    assert version.stdout.startswith("autotune-init ")
    assert store.stdout.startswith("cache-store ")
    assert listed.returncode == 0, listed.stderr
    assert "Read-only file system" in written.stderr


def test_slim_has_the_bill_of_materials_and_the_licences_of_what_it_carries(slim):
    about = slim.path / "usr/share/doc/autotune-cache"
    sbom = json.loads((about / "sbom.cdx.json").read_text())
    named = {component["name"] for component in sbom["components"]}

    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5")
    assert {"pydantic-core", "obstore", "botocore", "click", "musl"} <= named
    assert list(about.glob("licenses/pydantic_core-*/LICENSE"))
    assert (about / "licenses" / "musl" / "COPYRIGHT").exists()


def test_the_tree_is_sealed(slim):
    tree = slim.path / "opt/autotune"
    digest = hashlib.sha256((tree / "manifest.json").read_bytes()).hexdigest()

    assert (tree / ".complete").read_text() == f"sha256:{digest}\n"
    assert json.loads((tree / "manifest.json").read_text())["platform"] == "linux/amd64"


@pytest.fixture(scope="module")
def program(slim, tmp_path_factory):
    """What the policy's first container leaves: the tree in a volume, owned by 65532."""
    volume = tmp_path_factory.mktemp("program")
    volume.chmod(0o777)
    assert slim.run(volume, "/opt/autotune/start", "copy", "/tmp").returncode == 0
    return volume


def in_engine(root_of, program, kind, *words, **environ):
    """The copied program in another image, at another place than where it was built for, as another uid."""
    root = root_of(make_base(f"image-{kind.replace(':', '-')}", kind))
    done = root.run(program, "/tmp/start", *words, uid=1000, **environ)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["python:bookworm", "python:trixie"])
def test_the_copied_program_runs_in_images_with_a_python(root_of, program, kind):
    code, report = in_engine(root_of, program, kind, "run", "--", *ENGINE)

    assert (code, report["reason"]) == (0, "environment-no-gpu")


def test_an_image_without_python_starts_and_says_so(root_of, program):
    code, report = in_engine(root_of, program, "busybox", "run", "--", *ENGINE)

    assert (code, report["outcome"], report["reason"]) == (0, "skipped", "program-no-python")
    assert "/usr/bin/python3: absent" in report["detail"]


def test_an_image_with_python_39_starts_and_says_so(root_of, program):
    code, report = in_engine(root_of, program, "python:bullseye", "run", "--", *ENGINE)

    assert (code, report["outcome"], report["reason"]) == (0, "skipped", "program-python-version")
    assert "is Python 3.9." in report["detail"]


def test_strict_makes_it_an_exit_code(root_of, program):
    assert in_engine(root_of, program, "busybox", "run", "--strict")[0] == 25


def test_an_engines_image_takes_the_same_tree(slim, root_of, volume):
    base = make_base("image-python:3.11", "python:bookworm")
    image = build("engine", "--build-arg", f"ENGINE_IMAGE={base}")
    root, config = root_of(image), config_of(image)

    done = root.run(volume, "/opt/autotune/start", "run", "--", *ENGINE, uid=0)

    assert (root.path / "opt/autotune/.complete").read_text() == (
        slim.path / "opt/autotune/.complete"
    ).read_text()
    assert config.get("User", "") == ""
    assert config.get("Entrypoint") in (None, [])
    assert json.loads(done.stdout)["reason"] == "environment-no-gpu"
