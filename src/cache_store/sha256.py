"""SHA-256 in hex. A hit hashes 250 KB: the interpreter's own code is there in 1 ms, loading OpenSSL for it takes 3.

Large bytes are OpenSSL's: it is five times as fast where the CPU has instructions for it. An interpreter that was built
without the hashes of its own (Red Hat's) uses OpenSSL for all, as does `hashlib`. The same digests, held by
tests/unit/test_sha256.py.
"""

from __future__ import annotations

from cache_store.annotation import TYPE_CHECKING

_LARGE_BYTES = 1 << 20

if TYPE_CHECKING:
    from hashlib import sha256 as _own
else:
    try:
        from _sha2 import sha256 as _own  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256 as _own
        except ImportError:
            from hashlib import sha256 as _own


def sha256_hex(body: bytes) -> str:
    if len(body) < _LARGE_BYTES:
        return _own(body).hexdigest()
    from hashlib import sha256

    return sha256(body).hexdigest()
