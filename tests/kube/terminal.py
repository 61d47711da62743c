"""A person's terminal in front of a real cluster and a real store, and workloads to look at."""

import io
import json

import jsonschema
import yaml
from tests import bundles
from tests.kube import manifests as m
from tests.pods import ROOT, clean_environ

from autotune_init.fleet import run_fleet
from cache_store.objects.open_url import open_store

SCHEMA = json.loads((ROOT / "docs" / "schemas" / "autotune-init-fleet.schema.json").read_text())
KEYS = {name: f"{number:016x}" for number, name in enumerate(("hit", "miss", "claimed", "quarantined"), 1)}


class Ran:
    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def rows(self):
        document = json.loads(self.stdout)
        closed = {**SCHEMA["properties"]["rows"]["items"], "additionalProperties": False}
        jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
        for row in document["rows"]:
            jsonschema.validate(row, closed, jsonschema.Draft202012Validator)
        return {row["workload"]: row for row in document["rows"]}

    @property
    def jobs(self):
        return list(yaml.safe_load_all(self.stdout))


class Terminal:
    """A person's shell: a kubeconfig that prefers `namespace`, and the store's credentials."""

    def __init__(self, api, namespace, folder, store):
        self.kubeconfig = api.kubeconfig(folder / "kubeconfig", api.server.token, namespace)
        self.environ = clean_environ(**store.environ, KUBECONFIG=str(self.kubeconfig))
        self.store = store.url

    def __call__(self, *arguments, store=True):
        out, err = io.StringIO(), io.StringIO()
        where = ["--store", self.store] if store else []
        code = run_fleet([*arguments, *where], self.environ, out, err)
        return Ran(code, out.getvalue(), err.getvalue())


class Models:
    """A namespace with Deployments, one pod each, and a store."""

    def __init__(self, api, namespace, s3):
        self.api, self.namespace = api, namespace
        self.store = open_store(s3.url, environ=s3.environ)

    def serve(self, name, message=None, replicas=1, node=None, spec=None, **pod):
        deployment = self.api.create(m.deployment(name, self.namespace, replicas))
        owner = m.owned_by("Deployment", name, deployment["metadata"]["uid"])
        replica_set = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": f"{name}-abc", "namespace": self.namespace, "ownerReferences": [owner]},
            "spec": deployment["spec"],
        }
        uid = self.api.create(replica_set)["metadata"]["uid"]
        owner = m.owned_by("ReplicaSet", f"{name}-abc", uid)
        for number in range(replicas):
            made = m.pod(
                f"{name}-abc-{number}",
                self.namespace,
                owner,
                message,
                node,
                spec or without_claim(m.spec()),
                **pod,
            )
            del made["metadata"]["uid"]
            self.api.create_pod(made)

    def publish(self, key):
        who = bundles.identity(key=key)
        self.store.put_if_absent(who.address.bundle_key, bundles.bundle(who=who).encode())


def without_claim(spec):
    """A volume that needs nothing else on the server."""
    spec["volumes"][0] = {"name": "models", "emptyDir": {}}
    return spec


def wants(name, **more):
    return m.report(who=bundles.identity(key=KEYS[name]), **more)
