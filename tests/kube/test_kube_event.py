"""One Event about the outcome, on a real API server; and what happens where it cannot be sent."""

import io
import socket
import threading
import time

import pytest
import trustme

from autotune_init.kube_event import MAX_NOTE_BYTES, PodPlace, event_name, event_of, note_of, post_event
from autotune_init.outcomes import Outcome
from autotune_init.report import Report
from autotune_init.story import Story
from cache_store.clock import SystemClock

RIGHT = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}
HIT = Report(Outcome.HIT, "found", key="0123456789abcdef", seconds=0.4, saved_s=93.5)


def post(inside, report=HIT):
    """What was told."""
    told = io.StringIO()
    post_event(report, inside.environ, SystemClock(), Story(told), mount=inside.mount)
    return told.getvalue()


def events(api, namespace):
    return api.request("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")["items"]


def test_with_the_right_to_create_it_shows_in_describe(api, namespace, in_pod):
    told = post(in_pod(api.account(namespace, [RIGHT])))

    assert told == ""
    (event,) = events(api, namespace)
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "AutotuneHit", "PlaceTunedKernels")
    described = api.kubectl("describe", "pod", "qwen3-0", "--namespace", namespace)
    assert "AutotuneHit" in described
    assert "found; key 0123456789abcdef; took 0.4 s; saved 94 s of tuning" in described


def test_a_cold_start_is_a_warning(api, namespace, in_pod):
    post(in_pod(api.account(namespace, [RIGHT])), Report(Outcome.COLD, "store-denied", "403"))

    (event,) = events(api, namespace)
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "AutotuneCold", "StartCold")


def test_the_longest_note_and_the_longest_name_are_taken(api, namespace, in_pod):
    inside = in_pod(api.account(namespace, [RIGHT]))
    inside.environ["POD_NAME"] = "a" * 62 + "." + "b" * 136 + "." + "c" * 53
    told = post(inside, Report(Outcome.COLD, "tuner-crashed", "\u00e9" * 3000, key="0123456789abcdef"))

    assert told == ""
    (event,) = events(api, namespace)
    assert len(event["note"].encode()) in (MAX_NOTE_BYTES - 1, MAX_NOTE_BYTES)
    assert event["note"].endswith("key 0123456789abcdef; took 0.0 s")


def test_without_the_right_a_line_says_which_one_is_missing(api, namespace, in_pod):
    told = post(in_pod(api.account(namespace)))

    assert told == (
        'autotune-init: no Event: 403, the service account needs the verb "create" on "events" of the API group '
        '"events.k8s.io"\n'
    )
    assert events(api, namespace) == []


def test_a_token_that_is_none_is_told(in_pod):
    assert "401" in post(in_pod("not-a-token"))


def test_a_pod_of_another_namespace_is_told(api, namespace, in_pod):
    inside = in_pod(api.server.token)
    inside.environ["POD_NAMESPACE"] = "no-such-namespace"

    assert "404, " in post(inside)


def test_an_api_server_of_a_foreign_authority_gets_no_token(api, namespace, in_pod):
    inside = in_pod(api.account(namespace, [RIGHT]))
    trustme.CA().cert_pem.write_to_path(str(inside.mount / "ca.crt"))

    assert "CERTIFICATE_VERIFY_FAILED" in post(inside)
    assert events(api, namespace) == []


@pytest.mark.parametrize("name", ["POD_NAME", "POD_UID", "KUBERNETES_SERVICE_HOST"])
def test_a_missing_variable_is_told(in_pod, name):
    inside = in_pod("token")
    inside.environ.pop(name)

    assert post(inside) == f"autotune-init: no Event: {name} is not set\n"


def test_a_pod_without_a_token_is_told(in_pod):
    inside = in_pod("token")
    (inside.mount / "token").unlink()

    assert "no service account token in" in post(inside)


def silent_server(answer):
    """A listener that takes connections and calls `answer` with each."""
    listener = socket.create_server(("127.0.0.1", 0))
    kept = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            kept.append(connection)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()

    def close():
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in kept:
            connection.close()

    return listener.getsockname()[1], close


def drip(connection):
    try:
        while True:
            connection.sendall(b"\x16")
            time.sleep(0.3)
    except OSError:
        return


@pytest.mark.parametrize("answer", [lambda connection: None, drip], ids=["hangs", "drips"])
def test_a_server_that_does_not_answer_costs_two_seconds(in_pod, answer):
    inside = in_pod("token")
    port, close = silent_server(answer)
    inside.environ["KUBERNETES_SERVICE_PORT"] = str(port)

    began = time.monotonic()
    told = post(inside)
    took_s = time.monotonic() - began
    close()

    assert took_s < 2.5
    assert told.startswith("autotune-init: no Event: ")


def test_a_server_that_is_not_there_is_told_at_once(in_pod):
    inside = in_pod("token")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        inside.environ["KUBERNETES_SERVICE_PORT"] = str(probe.getsockname()[1])

        assert "refused" in post(inside)


def test_an_answer_that_makes_no_sense_is_told(in_pod):
    inside = in_pod("token")
    port, close = silent_server(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n"))
    inside.environ["KUBERNETES_SERVICE_PORT"] = str(port)

    assert post(inside).startswith("autotune-init: no Event: https://127.0.0.1:")
    close()


@pytest.mark.parametrize("pod", ["a", "a" * 253, "a" * 199 + ".-x"])
def test_a_name_is_a_valid_object_name(pod):
    name = event_name(pod, "0123456789abcdef0123456789abcdef")

    assert len(name) <= 253
    assert ".." not in name
    assert "-." not in name


def test_an_engine_that_does_not_tune_warns_nobody(tmp_path):
    place = PodPlace("https://[::1]:443", "models", "qwen3-0", "uid", "token", tmp_path)
    event = event_of(Report(Outcome.SKIPPED, "engine-does-not-tune"), place, "n", "now")

    assert (event["type"], event["reason"]) == ("Normal", "AutotuneSkipped")


def test_a_note_is_cut_between_characters():
    note = note_of(Report(Outcome.COLD, "tuner-crashed", "\U0001f600" * 600))

    assert len(note.encode()) <= MAX_NOTE_BYTES
    assert "\ufffd" not in note
