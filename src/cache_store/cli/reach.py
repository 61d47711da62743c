"""How a store is reached: the client, the endpoint, the region, and which credentials, never a secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from cache_store.dataclass import dataclass
from cache_store.store_environ import s3_endpoint

# so much of an access key's id tells one from the next; a shorter id is not shown
_END = 4
_ADAPTERS = {"obstore_cloud": "obstore", "fsspec_any": "fsspec"}
# the first of these that is set is what the clients take
_S3_SOURCES = (
    ("AWS_SKIP_SIGNATURE", "none: AWS_SKIP_SIGNATURE asks for no signature"),
    ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
    ("AWS_PROFILE", "AWS_PROFILE"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
)
_SOURCES = {
    "gs": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_CLIENT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
    ),
}


@dataclass(frozen=True)
class Reach:
    """None where there is no such thing. `credentials`: the variable, or whom the client asks by itself."""

    adapter: str
    endpoint: str | None = None
    region: str | None = None
    credentials: str | None = None
    access_key_end: str | None = None


def reach_of(url: str, module: str, environ: Mapping[str, str]) -> Reach:
    """`module`: where the store's class is."""
    name = module.rpartition(".")[2]
    adapter = _ADAPTERS.get(name, name)
    scheme = urlsplit(url).scheme
    if scheme in _SOURCES:
        found = next((one for one in _SOURCES[scheme] if environ.get(one)), "what the client finds by itself")
        return Reach(adapter, credentials=found)
    if scheme != "s3":
        return Reach(adapter)
    by_itself = (
        "what botocore finds: files, a login, a role" if adapter == "fsspec" else "the role of this machine"
    )
    source = next((told for one, told in _S3_SOURCES if environ.get(one)), by_itself)
    key_id = environ.get("AWS_ACCESS_KEY_ID", "") if source == "AWS_ACCESS_KEY_ID" else ""
    endpoint = s3_endpoint(environ)
    return Reach(
        adapter,
        _without_user(endpoint) if endpoint else None,
        environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None,
        source,
        key_id[-_END:] if len(key_id) > 2 * _END else None,
    )


def _without_user(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
