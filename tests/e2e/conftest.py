"""The end-to-end tests' cluster, S3 server and namespaces. `pytest tests/e2e`; needs root and `make servers`.

E2E_KEEP=1 reuses a cluster that is up and leaves it up; without it every run begins with a fresh one.
"""

import os
import secrets
from dataclasses import dataclass

import pytest
from tests.e2e import engine_images
from tests.e2e.cluster_kubectl import Kubectl
from tests.e2e.fleet import Release, values
from tests.image_e2e.containers import build
from tools.cluster import base_images, images, s3_server
from tools.cluster.cluster import Cluster
from tools.cluster.layout import NODE_ADDRESS, S3_PORT, Layout

KEEP = "E2E_KEEP"


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own. `url` for --store; `settings` are the variables that make it reachable, also from pods."""

    name: str
    server: s3_server.S3Server

    @property
    def url(self):
        return f"s3://{self.name}/fleet"

    @property
    def settings(self):
        return self.server.settings


@pytest.fixture(scope="session")
def cluster():
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("one cluster per machine: run tests/e2e without -n", pytrace=False)
    cluster = Cluster(Layout.of(os.environ, os.getuid()))
    if not os.environ.get(KEEP):
        cluster.down()
    cluster.up()
    yield cluster
    if not os.environ.get(KEEP):
        cluster.down()


@pytest.fixture(scope="session")
def kubectl(cluster):
    """In the namespace `default`; `kubectl.within(namespace)` for another."""
    return Kubectl({**os.environ, **cluster.layout.exports(os.environ)})


@pytest.fixture(scope="session")
def node_image(cluster):
    """node_image(NAME, KIND): a base image (tools/cluster/base_images.py) on the node; returns the name for pods."""
    done = {}

    def put(name, kind):
        if (name, kind) not in done:
            done[name, kind] = base_images.make_base(name, kind)
            images.put_on_node(cluster.layout, done[name, kind])
        return done[name, kind]

    return put


@pytest.fixture(scope="session")
def busybox(node_image):
    return node_image("localhost/e2e-busybox:1", "busybox")


@pytest.fixture(scope="session")
def python_image(node_image):
    """Debian bookworm's python 3.11, nothing else."""
    return node_image("localhost/e2e-python:1", "python:bookworm")


@pytest.fixture(scope="session")
def slim_image(cluster):
    """Our image, built from the Dockerfile as it is now."""
    name = build("slim")
    images.put_on_node(cluster.layout, name)
    return name


@pytest.fixture(scope="session")
def engine_image(cluster):
    """The stand-in on a Python that is not the slim image's."""
    return engine_images.build_engine(cluster.layout, "e2e-engine:1", "python:bookworm")


@pytest.fixture
def install(kubectl, slim_image, tmp_path):
    """install(bucket, SECTION={..}): the chart as a release of this test alone, gone after it."""
    made = []

    def install(bucket, name="autotune-cache", **changed):
        release = Release(kubectl, name, values(slim_image, bucket, **changed), tmp_path)
        made.append(release)
        release.install()
        return release

    yield install
    for release in made:
        release.uninstall()


@pytest.fixture(scope="session")
def s3(cluster):
    """The S3 server that pods reach; recorded with the cluster, so it also ends with it."""
    return s3_server.start(cluster.daemons, cluster.layout.run / "objects", NODE_ADDRESS, S3_PORT)


@pytest.fixture
def minio(s3):
    return Bucket(s3_server.make_bucket(s3, f"bucket-{secrets.token_hex(4)}"), s3)


@pytest.fixture
def make_namespace(kubectl):
    """make_namespace(pod_security="restricted"): a Kubectl in a fresh namespace that is deleted after the test."""
    made = []

    def make(pod_security=""):
        inside = kubectl.within(f"e2e-{secrets.token_hex(4)}")
        labels = {"pod-security.kubernetes.io/enforce": pod_security} if pod_security else {}
        made.append(inside)
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": inside.namespace, "labels": labels},
        }
        kubectl.apply(manifest)
        inside.wait(
            "namespace", inside.namespace, lambda found: found["status"]["phase"] == "Active", what="active"
        )
        # a pod is refused before its namespace has this
        inside.run("wait", "--for=create", "serviceaccount/default", "--timeout=30s")
        return inside

    yield make
    for inside in made:
        # workloads first, or they would make their pods again; the rest of a namespace may go while the next test runs
        inside.run("delete", "deployments,statefulsets,jobs", "--all", "--wait=false")
        inside.run("delete", "pods", "--all", "--grace-period=1", "--timeout=40s")
        inside.run("delete", "namespace", inside.namespace, "--wait=false")


@pytest.fixture
def scratch_namespaces(kubectl):
    """The namespaces that docs/install.md makes, empty before and gone after."""
    names = ("models", "autotune-system")
    for name in names:
        kubectl.run("delete", "namespace", name, "--ignore-not-found", "--timeout=90s", within_s=100)
    yield names
    for name in names:  # to the end: the next test installs into one of them
        kubectl.run("delete", "namespace", name, "--ignore-not-found", "--timeout=90s", within_s=100)


@pytest.fixture
def namespace(make_namespace):
    """A Kubectl in a fresh namespace without PodSecurity."""
    return make_namespace()


@pytest.fixture
def restricted(make_namespace):
    """A Kubectl in a fresh namespace that enforces PodSecurity `restricted`."""
    return make_namespace("restricted")


@pytest.fixture
def gpus(cluster):
    """gpus(N): the node claims N nvidia.com/gpu; none after the test."""
    yield cluster.set_gpus
    cluster.set_gpus(0)
