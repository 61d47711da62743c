"""A store's own credentials beside those of the environment: AUTOTUNE_STORE_AWS_ACCESS_KEY_ID and its like.

The init container is a copy of the engine's. An engine that loads its model from object storage has AWS_* variables for
that bucket, and they are wrong for ours; replacing them would take the model away from the engine that we may start.
`cache-store cp` reaches a second store in the same way, with AUTOTUNE_TO_AWS_ACCESS_KEY_ID and its like.
"""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "AUTOTUNE_STORE_"
DESTINATION_PREFIX = "AUTOTUNE_TO_"
_CLOUDS = ("AWS_", "GOOGLE_", "AZURE_")
# saying one of a group for the store means that nothing of the group is taken from the container: half of one identity
# and half of another is neither
_GROUPS = (
    frozenset(
        {
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "AWS_SKIP_SIGNATURE",
            "AWS_ROLE_ARN",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        }
    ),
    frozenset({"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}),
    frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"}),
)


def is_for_store(name: str, prefix: str = PREFIX) -> bool:
    """Whether this variable says something about the store alone, like AUTOTUNE_STORE_AWS_REGION."""
    return name.startswith(prefix) and name.removeprefix(prefix).startswith(_CLOUDS)


def s3_endpoint(environ: Mapping[str, str]) -> str | None:
    """The S3 server that is named; None where it is the cloud's own."""
    return environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")


def store_environ(environ: Mapping[str, str], prefix: str = PREFIX) -> dict[str, str]:
    """The environment as the store's client should see it: what is said for the store alone counts, unprefixed.

    An empty AUTOTUNE_STORE_AWS_ENDPOINT_URL_S3 is the cloud's own endpoint, whatever the container says.
    """
    said = {name.removeprefix(prefix): value for name, value in environ.items() if is_for_store(name, prefix)}
    dropped = {name for group in _GROUPS if group & said.keys() for name in group}
    if any(name.startswith("AZURE_") for name in said):
        dropped |= {name for name in environ if name.startswith("AZURE_")}
    if any(name.startswith("GOOGLE_") for name in said):
        dropped |= {name for name in environ if name.startswith("GOOGLE_")}
    kept = {
        name: value
        for name, value in environ.items()
        if name not in dropped and not is_for_store(name, prefix)
    }
    return kept | {name: value for name, value in said.items() if value}
