"""What of the locked wheels does not go into the tree, each with its reason. Pure.

A pod copies the whole tree before its engine starts, so it holds what a run can import and nothing else.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath

# clients that botocore makes by itself while it looks for credentials (botocore/credentials.py, tokens.py, utils.py)
BOTOCORE_SERVICES = frozenset({"s3", "sts", "sso", "sso-oidc", "signin"})
BOTOCORE_TABLES = frozenset(
    {"_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json"}
)

# pattern of the path below site-packages -> why it is not needed. fnmatch: `*` also crosses slashes
PRUNED: dict[str, str] = {
    "*.dist-info/*": "the engine's Python asks which packages are installed and must see its own; licences go beside the tree",
    "bin/*": "scripts of other interpreters' environments",
    "*/tests/*": "test suites",
    "*/_testcapi.*": "a test module of multidict",
    "*.pyi": "read by type checkers only",
    "*.pyx": "Cython sources",
    "*.pxd": "Cython sources",
    "*.pxi": "Cython sources",
    "*.c": "C sources",
    "*.h": "C sources",
    "*/py.typed": "read by type checkers only",
    "*/.hash/*": "aiohttp's build",
    "*.lock": "left by the installer",
    "cache_store/testing/*": "imported by tests only",
    "pydantic/v1/*": "pydantic 1's interface, which nothing here uses",
    "pydantic/mypy.py": "a plugin of mypy",
    "pydantic/_hypothesis_plugin.py": "for hypothesis",
    "obstore/fsspec.py": "obstore's own fsspec face; we bring the other two together ourselves",
    # pure Python takes their place, as these projects test it; they serve the slow road through s3fs alone
    "aiohttp/*.so": "aiohttp works without (its AIOHTTP_NO_EXTENSIONS)",
    "frozenlist/*.so": "frozenlist works without",
    "multidict/*.so": "multidict works without",
    "propcache/*.so": "propcache works without",
    "wrapt/*.so": "wrapt works without",
    "yarl/*.so": "yarl works without",
    "yaml/*.so": "safe_load is pure Python",
    "_yaml/*": "PyYAML's old name for its C part",
}


def why_pruned(path: PurePosixPath) -> str | None:
    """The reason why this file stays out, or None where it belongs into the tree."""
    parts = path.parts
    if parts[:2] == ("botocore", "data") and len(parts) > 2:
        if parts[2] in BOTOCORE_TABLES or (parts[2] in BOTOCORE_SERVICES and len(parts) > 3):
            return None
        return "botocore's description of a service that is never called"
    text = str(path)
    return next((why for pattern, why in PRUNED.items() if fnmatch(text, pattern)), None)
