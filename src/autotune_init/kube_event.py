"""One Kubernetes Event about the outcome, from inside the pod, for people who look with `kubectl describe pod`.

Plain REST with the mounted token: this runs from a tree that is copied into every pod, and the kubernetes client is
74 MB and a second of CPU. An Event is an extra: it is sent when everything else is done, and whatever happens to it is
one line on stderr.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from autotune_init.outcomes import WARM
from autotune_init.report import Report
from autotune_init.story import Story
from cache_store.clock import Clock, fresh_nonce
from cache_store.dataclass import dataclass

MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONTROLLER = "autotune-cache.dev/autotune-init"
CONTAINER = "autotune-init"
BUDGET_S = 2.0  # of a pod that could start by now
MAX_NOTE_BYTES = 1024  # pkg/apis/core/validation/events.go of Kubernetes 1.36: noteLengthLimit
_MAX_INSTANCE = 128  # reportingInstanceLengthLimit, there
_MAX_STEM = 200  # of an object name's 253, with a nonce behind it
_NEEDED = ("KUBERNETES_SERVICE_HOST", "POD_NAME", "POD_UID")
_RIGHT = 'the service account needs the verb "create" on "events" of the API group "events.k8s.io"'


class EventNotSent(Exception):  # noqa: N818 -- reads as what it is
    """Why there is no Event; the message says what to do about it."""


@dataclass(frozen=True)
class PodPlace:
    """Which pod this is, and how its API server is spoken to. `uid`: without it `kubectl describe` shows no Event."""

    api_url: str
    namespace: str
    name: str
    uid: str
    token: str
    ca_file: Path


def post_event(
    report: Report, environ: Mapping[str, str], clock: Clock, story: Story, *, mount: Path = MOUNT
) -> None:
    """Takes at most `BUDGET_S` and raises nothing. POD_NAME, POD_UID and POD_NAMESPACE come from the downward API."""
    problems: list[str] = []

    def send() -> None:
        try:
            place = place_of(environ, mount)
            name = event_name(place.name, fresh_nonce())
            create_event(place, event_of(report, place, name, clock.now().isoformat(timespec="microseconds")))
        except EventNotSent as problem:
            problems.append(str(problem))
        except Exception as error:  # noqa: BLE001 -- an Event is an extra: no bug in it may be the pod's ending
            problems.append(f"{type(error).__name__}: {error}")

    # a thread, because a socket's timeout is per packet; the interpreter does not wait for it (os._exit)
    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    sending.join(BUDGET_S)
    if sending.is_alive():
        problems.append(f"the API server did not answer within {BUDGET_S:g} s")
    for problem in problems[:1]:
        story.tell(f"no Event: {problem}")


def place_of(environ: Mapping[str, str], mount: Path) -> PodPlace:
    """Raises `EventNotSent` where something is missing."""
    for name in _NEEDED:
        if not environ.get(name):
            raise EventNotSent(f"{name} is not set")
    try:
        token = (mount / "token").read_text().strip()
        namespace = environ.get("POD_NAMESPACE") or (mount / "namespace").read_text().strip()
    except (OSError, ValueError) as error:
        raise EventNotSent(f"no service account token in {mount}: {error}") from None
    host = environ["KUBERNETES_SERVICE_HOST"]
    authority = f"[{host}]" if ":" in host else host
    port = environ.get("KUBERNETES_SERVICE_PORT") or "443"
    return PodPlace(
        api_url=f"https://{authority}:{port}",
        namespace=namespace,
        name=environ["POD_NAME"],
        uid=environ["POD_UID"],
        token=token,
        ca_file=mount / "ca.crt",
    )


def event_name(pod: str, nonce: str) -> str:
    return f"{pod[:_MAX_STEM].rstrip('.-')}.{nonce[:16]}"


def event_of(report: Report, place: PodPlace, name: str, now: str) -> dict[str, Any]:
    """The Event (events.k8s.io/v1). `now` is ISO 8601 with microseconds: eventTime takes nothing coarser. Pure."""
    is_warm = report.outcome in WARM
    # an engine that tunes nothing is nobody's fault
    is_normal = is_warm or report.reason.startswith("engine-")
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": place.namespace},
        "eventTime": now,
        "reportingController": CONTROLLER,
        "reportingInstance": place.name[:_MAX_INSTANCE],
        "action": "PlaceTunedKernels" if is_warm else "StartCold",
        "reason": f"Autotune{report.outcome.value.capitalize()}",
        "type": "Normal" if is_normal else "Warning",
        "regarding": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": place.namespace,
            "name": place.name,
            "uid": place.uid,
            "fieldPath": f"spec.initContainers{{{CONTAINER}}}",
        },
        "note": note_of(report),
    }


def note_of(report: Report) -> str:
    parts = [report.reason + (f": {report.detail}" if report.detail else "")]
    if report.key:
        parts.append(f"key {report.key}")
    parts.append(f"took {report.seconds:.1f} s")
    if report.saved_s:
        parts.append(f"saved {report.saved_s:.0f} s of tuning")
    # the detail may be long: what comes after it must stay
    tail = "".join(f"; {part}" for part in parts[1:])
    room = MAX_NOTE_BYTES - len(tail.encode())
    return parts[0].encode(errors="replace")[:room].decode(errors="ignore") + tail


def create_event(place: PodPlace, event: Mapping[str, Any]) -> None:
    """One POST. Raises `EventNotSent`."""
    request = urllib.request.Request(  # noqa: S310 -- place_of writes the scheme
        f"{place.api_url}/apis/events.k8s.io/v1/namespaces/{place.namespace}/events",
        data=json.dumps(event).encode(),
        headers={"Authorization": f"Bearer {place.token}", "Content-Type": "application/json"},
        method="POST",
    )
    try:
        trust = ssl.create_default_context(cafile=str(place.ca_file))
        # no proxy, because one for the internet does not lead into the cluster; no redirects, because the token is for
        # the API server alone
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPSHandler(context=trust),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            opener.add_handler(handler)
        with opener.open(request, timeout=BUDGET_S):
            pass
    except HTTPError as answer:
        with answer:
            raise EventNotSent(_told(answer.code, answer.read(4096))) from None
    except URLError as error:
        raise EventNotSent(f"{place.api_url}: {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise EventNotSent(f"{place.api_url}: {type(error).__name__}: {error}") from None


def _told(status: int, body: bytes) -> str:
    if status == 403:
        return f"403, {_RIGHT}"
    if status == 401:
        return "401, the API server does not take the service account's token"
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")
    return f"{status}, {message[:300]}"
