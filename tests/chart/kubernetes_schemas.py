"""kubeconform's schemas from what a real API server says of its kinds, so that they need no network and are no copy."""

import json

_GROUPS = (
    "api/v1", "apis/apps/v1", "apis/batch/v1", "apis/networking.k8s.io/v1", "apis/rbac.authorization.k8s.io/v1",
    "apis/admissionregistration.k8s.io/v1",
)  # fmt: skip


def write_schemas(api, folder):
    """One file for each kind, `kind-group-version.json`; returns the --schema-location that finds them."""
    for group in _GROUPS:
        answer = api.request("GET", f"/openapi/v3/{group}")
        assert answer.status == 200, (group, answer.made)
        schemas = answer.made["components"]["schemas"]
        definitions = {name: strict(schema) for name, schema in schemas.items()}
        for name, schema in schemas.items():
            for kind in schema.get("x-kubernetes-group-version-kind", []):
                if f"{kind['group']}/{kind['version']}".lstrip("/") != group.removeprefix(
                    "apis/"
                ).removeprefix("api/"):
                    continue
                file = "-".join(
                    part
                    for part in (kind["kind"].lower(), kind["group"].partition(".")[0], kind["version"])
                    if part
                )
                (folder / f"{file}.json").write_text(
                    json.dumps({"$ref": f"#/definitions/{name}", "definitions": definitions})
                )
    return str(folder / "{{.ResourceKind}}{{.KindSuffix}}.json")


def strict(schema):
    """With references where JSON schema has them, and without properties that Kubernetes does not know."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        name: strict(part) for name, part in schema.items() if name != "default" or not isinstance(part, str)
    }
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].replace("#/components/schemas/", "#/definitions/")
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made
