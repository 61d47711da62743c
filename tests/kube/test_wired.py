"""The programs as they are started: the Event at the end of a run, and `fleet` behind the command."""

import json
import subprocess
import sys

from tests.kube.test_kube_event import RIGHT
from tests.pods import Pod, clean_environ


def test_a_run_ends_with_an_event(tmp_path, api, namespace, in_pod):
    inside = in_pod(api.account(namespace, [RIGHT]))
    (tmp_path / "store").mkdir()
    pod = Pod(tmp_path / "pod", (tmp_path / "store").as_uri(), environ=inside.environ)

    done = pod.run("--event")

    # outside of a pod nothing is mounted where a pod has its token: the run is the same, and says so last
    assert (done.code, done.ending) == (0, ("cold", "miss"))
    last = done.stderr.splitlines()[-1]
    assert last.startswith("autotune-init: no Event: no service account token in /var/run/secrets/")


def test_fleet_is_a_command(tmp_path, api, namespace):
    kubeconfig = api.kubeconfig(tmp_path / "kubeconfig", api.server.token, namespace)
    done = subprocess.run(
        [sys.executable, "-m", "autotune_init", "fleet", "--json"],
        env=clean_environ(KUBECONFIG=str(kubeconfig)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert json.loads(done.stdout) == {"schema": "autotune-cache/fleet/v1", "rows": [], "warnings": []}


def test_help_of_fleet_needs_no_cluster():
    for arguments in (["fleet", "--help"], ["fleet", "prewarm", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "autotune_init", *arguments], capture_output=True, text=True, check=True
        )

        assert "--model-config" in done.stdout
