"""Whatever is wrong with the store or the image: the owner's pod starts, in time, and says why."""

import time

import pytest
from tests.e2e.cluster_kubectl import container_status
from tests.e2e.fleet import (
    INIT,
    STATUS,
    add_secret,
    deployment,
    engine,
    pod_spec,
    pods_of,
    report_of,
    reports_of,
    told_by_engine,
)
from tests.servers import run_stub
from tools.cluster.layout import NODE_ADDRESS

DEADLINE_S = 40
# scheduling, two init containers and the engine's own start on two busy cores
AROUND_S = 40


@pytest.fixture(scope="module")
def stub():
    """An S3 that pods reach and that misbehaves at will."""
    yield from run_stub(address=NODE_ADDRESS)


def starts_cold(inside, image, name="qwen3"):
    """The one report of a Deployment that must be ready within the deadline, with an engine that found nothing."""
    began = time.monotonic()
    inside.apply(deployment(name, pod_spec(engine(image))))
    inside.wait_rolled_out(name, within_s=DEADLINE_S + AROUND_S)
    assert time.monotonic() - began < DEADLINE_S + AROUND_S
    (pod,) = pods_of(inside, name)
    assert told_by_engine(inside, pod["metadata"]["name"])["files"] == {}
    return report_of(pod)


def limited(**store):
    return {"store": store, "tuning": {"deadlineSeconds": DEADLINE_S, "waitSeconds": 20}}


def test_given_a_store_that_is_down_then_the_deployment_is_ready_in_time_and_says_so(
    install, restricted, minio, engine_image
):
    install(minio, **limited(endpoint=f"http://{NODE_ADDRESS}:9"))
    add_secret(restricted, minio)

    report = starts_cold(restricted, engine_image)

    assert (report["outcome"], report["reason"]) == ("cold", "store-unavailable")


def test_given_a_bucket_that_is_not_there_then_the_deployment_is_ready_and_says_so(
    install, restricted, minio, engine_image
):
    install(minio, **limited(url="s3://no-such-bucket/fleet"))
    add_secret(restricted, minio)

    report = starts_cold(restricted, engine_image)

    assert (report["outcome"], report["reason"]) == ("cold", "store-not-found")


def test_given_wrong_credentials_then_the_deployment_is_ready_and_says_so(
    install, restricted, minio, engine_image
):
    install(minio, **limited())
    add_secret(restricted, minio, AWS_SECRET_ACCESS_KEY="wrong")

    report = starts_cold(restricted, engine_image)

    assert (report["outcome"], report["reason"]) == ("cold", "store-denied")


def test_given_no_secret_then_the_deployment_is_ready_and_says_so(install, restricted, minio, engine_image):
    install(minio, **limited())

    report = starts_cold(restricted, engine_image)

    assert report["outcome"] == "cold"
    assert report["reason"].startswith("store-")


def test_given_a_store_that_ignores_conditions_then_nobody_tunes_into_it_and_the_deployment_says_so(
    install, restricted, minio, stub, engine_image
):
    stub.dialect = "ignores"
    install(minio, **limited(endpoint=stub.endpoint, url="s3://b/fleet"))
    add_secret(restricted, minio, AWS_ACCESS_KEY_ID=stub.access_key)

    report = starts_cold(restricted, engine_image)

    assert (report["outcome"], report["reason"]) == ("cold", "store-ignores-conditions")
    assert not [key for key in stub.objects if key.endswith("bundle.json")]


@pytest.mark.parametrize(
    ("base", "outcome", "reason"),
    [
        ("busybox", "skipped", "program-no-python"),
        ("python:bullseye", "skipped", "program-python-version"),
        ("python:bookworm", "skipped", "key-argv"),
    ],
)
def test_given_an_image_that_is_no_engine_then_its_pod_starts_and_says_so(
    install, restricted, minio, node_image, base, outcome, reason
):
    install(minio)
    add_secret(restricted, minio)
    image = node_image(f"localhost/e2e-{base.replace(':', '-')}:1", base)
    anything = {**engine(image), "command": ["/bin/sh", "-c", "exec sleep 3600"], "args": []}
    del anything["readinessProbe"]

    restricted.apply(deployment("other", pod_spec(anything)))
    restricted.wait_rolled_out("other")

    (report,) = reports_of(restricted, "other")
    assert (report["outcome"], report["reason"]) == (outcome, reason), report


def test_given_two_ways_of_attaching_then_the_owners_stays_and_the_policy_says_why(
    install, restricted, minio, slim_image, engine_image
):
    install(minio)
    own = {
        **engine(engine_image),
        "name": INIT,
        "command": ["python3", "-c", "print('the owner has attached it already')"],
        "args": [],
    }
    del own["readinessProbe"]

    told = restricted.apply_told(deployment("both", pod_spec(engine(engine_image), initContainers=[own])))
    restricted.wait_rolled_out("both")

    (pod,) = pods_of(restricted, "both")
    assert [each["name"] for each in pod["spec"]["initContainers"]] == [INIT]
    assert pod["metadata"]["annotations"][STATUS].startswith("left alone: ")
    assert "autotune-cache: its pods will be left alone" in told


def test_given_a_misspelt_container_then_whoever_applies_it_is_warned_and_the_pod_starts(
    install, restricted, minio, engine_image
):
    install(minio)
    body = deployment(
        "misspelt", pod_spec(engine(engine_image)), annotations={"autotune-cache.dev/container": "engin"}
    )

    told = restricted.apply_told(body)
    restricted.wait_rolled_out("misspelt")

    (pod,) = pods_of(restricted, "misspelt")
    assert "engin" in told
    assert "autotune-cache: its pods will be left alone" in told
    assert "initContainers" not in pod["spec"]
    assert "engin" in pod["metadata"]["annotations"][STATUS]


def test_given_a_tuner_that_eats_all_memory_then_the_pod_is_not_held_up_by_its_end(
    install, restricted, minio, engine_image
):
    greedy = "python3 -c 'x = [bytearray(1 << 20) for _ in range(4000)]'"
    install(minio, tuning={"tunerCommand": greedy, "deadlineSeconds": DEADLINE_S})
    add_secret(restricted, minio)
    limits = {"limits": {"memory": "256Mi", "cpu": "1"}, "requests": {"memory": "64Mi", "cpu": "10m"}}

    restricted.apply(deployment("greedy", pod_spec(engine(engine_image, resources=limits))))
    restricted.wait_rolled_out("greedy", within_s=2 * DEADLINE_S + AROUND_S)

    (pod,) = pods_of(restricted, "greedy")
    status = container_status(pod, INIT)
    # The kubelet takes an init container in which anything ran out of memory for failed, though ours exits with 0, and
    # runs it once more; where the runtime ends the whole container, our launcher finds that out itself.
    assert status["restartCount"] <= 1
    assert report_of(pod)["reason"] in ("tuner-crashed", "tune-failed-recently", "program-killed-before")
