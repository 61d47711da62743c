"""The cluster itself can what the other end-to-end tests build on."""

import subprocess
import sys
from pathlib import Path

from tests.e2e.cluster_kubectl import Kubectl, container_status, is_ready
from tools.cluster import api_server, bare_api, images
from tools.cluster.bare_api import daemons_in

from cache_store.objects.open_url import open_store

HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SAFE_POD = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def shell(image, name, script, **more):
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-ec", script],
        "securityContext": HARDENED,
        **more,
    }


def pod(name, *containers, **spec):
    body = {"restartPolicy": "Never", "securityContext": SAFE_POD, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def test_a_restricted_namespace_runs_a_deployment_whose_init_container_leaves_a_message(restricted, busybox):
    mount = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    write = 'echo hit > /shared/outcome; printf \'{"outcome":"hit"}\' > /dev/termination-log'
    template = {
        "metadata": {"labels": {"app": "demo"}},
        "spec": {
            "securityContext": SAFE_POD,
            "initContainers": [shell(busybox, "prepare", write, **mount)],
            "containers": [shell(busybox, "engine", "cat /shared/outcome; exec sleep 3600", **mount)],
            "volumes": [{"name": "shared", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 1,
        },
    }
    restricted.apply({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "demo"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "demo"}}, "template": template},
    })  # fmt: skip
    restricted.wait_rolled_out("demo")
    pods = restricted.items("pods", "app=demo")
    assert len(pods) == 2
    for each in pods:
        name = each["metadata"]["name"]
        assert restricted.termination(name, "prepare") == (0, '{"outcome":"hit"}')
        assert restricted.logs(name, "engine") == "hit\n"


def test_a_restricted_namespace_refuses_a_pod_that_runs_as_root(restricted, busybox):
    told = restricted.refused(pod("root", shell(busybox, "a", "true"), securityContext={"runAsUser": 0}))
    assert "violates PodSecurity" in told


def test_a_pod_gets_a_gpu_only_while_the_node_claims_enough(namespace, busybox, gpus):
    gpus(2)

    def wanting(name, count):
        limits = {"limits": {"nvidia.com/gpu": count}}
        return pod(
            name,
            shell(busybox, "engine", "exec sleep 3600", resources=limits),
            terminationGracePeriodSeconds=1,
        )

    namespace.apply(wanting("one", 1), wanting("three", 3))
    namespace.wait_ready("one")
    namespace.wait("pod", "three", is_unschedulable)
    assert any("Insufficient nvidia.com/gpu" in message for _, message in namespace.events("three"))
    gpus(4)
    namespace.wait_ready("three")


def test_an_image_is_mounted_as_a_volume(restricted, busybox, cluster, tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY greeting /greeting\n")
    (tmp_path / "greeting").write_text("from an image\n")
    image = images.image(cluster.layout, "e2e-files:1", tmp_path)
    read = shell(
        busybox, "engine", "cat /files/greeting", volumeMounts=[{"name": "files", "mountPath": "/files"}]
    )
    volumes = [{"name": "files", "image": {"reference": image, "pullPolicy": "Never"}}]
    restricted.apply(pod("reader", read, volumes=volumes))
    ended = restricted.wait_ended("reader")
    assert container_status(ended, "engine")["state"]["terminated"]["exitCode"] == 0
    assert restricted.logs("reader", "engine") == "from an image\n"


def test_a_pod_reaches_the_s3_server_and_so_does_this_process(restricted, python_image, minio):
    store = open_store(minio.url, environ=minio.settings)
    store.put_if_absent("greeting", b"hello")
    assert store.get("greeting", limit_bytes=100).body == b"hello"
    store.close()
    # healthy, and it is S3 that answers: an unsigned request is refused with S3's own error
    program = (
        "import sys, urllib.request as u, urllib.error\n"
        "print(u.urlopen(sys.argv[1] + '/minio/health/ready', timeout=5).status)\n"
        "try: u.urlopen(sys.argv[1] + sys.argv[2], timeout=5)\n"
        "except urllib.error.HTTPError as e: print(e.code, b'<Code>AccessDenied</Code>' in e.read())\n"
    )
    endpoint = minio.settings["AWS_ENDPOINT_URL_S3"]
    ask = shell(
        python_image, "ask", "", command=["python3", "-c", program, endpoint, f"/{minio.name}/fleet/greeting"]
    )
    restricted.apply(pod("client", ask))
    restricted.wait_ended("client")
    assert restricted.logs("client", "ask").split("\n")[:2] == ["200", "403 True"]


def test_a_pod_speaks_with_the_api_by_its_service_account(restricted, python_image):
    program = (
        "import os, ssl, urllib.request as u, urllib.error\n"
        "folder = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "trust = ssl.create_default_context(cafile=folder + 'ca.crt')\n"
        "base = 'https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}'.format(**os.environ)\n"
        "held = {'Authorization': 'Bearer ' + open(folder + 'token').read()}\n"
        "for path in ('/version', '/api/v1/namespaces/default/pods'):\n"
        "    try: print(u.urlopen(u.Request(base + path, headers=held), context=trust, timeout=5).status)\n"
        "    except urllib.error.HTTPError as e: print(e.code)\n"
    )
    restricted.apply(pod("client", shell(python_image, "ask", "", command=["python3", "-c", program])))
    restricted.wait_ended("client")
    # known, and without any right that it was not given
    assert restricted.logs("client", "ask") == "200\n403\n"


def test_a_pod_is_not_ready_before_its_init_container_has_ended(namespace, busybox):
    # the promise that the whole product stands on
    slow = shell(busybox, "prepare", "sleep 3")
    engine = shell(busybox, "engine", "exec sleep 3600")
    namespace.apply(pod("slow", engine, initContainers=[slow], terminationGracePeriodSeconds=1))
    running = namespace.wait(
        "pod", "slow", lambda found: "running" in state_of(found, "prepare"), what="preparing"
    )
    assert not is_ready(running)
    assert "waiting" in state_of(running, "engine")
    ready = namespace.wait_ready("slow")
    assert "terminated" in state_of(ready, "prepare")


def state_of(found, container):
    if "initContainerStatuses" not in found["status"]:
        return {}
    return container_status(found, container)["state"]


def is_unschedulable(found):
    conditions = found["status"].get("conditions", [])
    return any(each.get("reason") == "Unschedulable" for each in conditions)


def test_the_policy_api_is_there_by_release():
    with api_server() as new, api_server(emulated_version="1.35") as old:
        kinds = [
            Kubectl(api.environ).run("api-resources", "--api-group=admissionregistration.k8s.io")
            for api in (new, old)
        ]
    assert ["MutatingAdmissionPolicy" in each for each in kinds] == [True, False]


def test_an_api_server_ends_with_the_process_that_started_it():
    program = "from tools.cluster import api_server\nwith api_server() as api:\n    print(api.folder, flush=True)\n    input()\n"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        folder = Path(child.stdout.readline().strip())
        started = daemons_in(folder)
        assert started.are_alive(["etcd", "kube-apiserver"])
        child.kill()
    try:
        started.wait_until(
            "its end", 10, lambda: not any(started.pid(name) for name in ("etcd", "kube-apiserver"))
        )
    finally:
        bare_api.stop(folder)
