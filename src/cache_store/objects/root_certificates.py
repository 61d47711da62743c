"""Which root certificates obstore's client finds when it is made: the machine's, or those that botocore brings.

The client takes them from SSL_CERT_FILE and SSL_CERT_DIR, else from where distributions keep them, and cannot be made where
there is none ("No CA certificates were loaded from the system", reqwest 0.12), not even for a store without TLS. botocore
trusts its own list wherever it is not told another.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping

from cache_store.annotation import Any
from cache_store.process_environ import lent_change

# Amazon Root CA 3, which every list has; the shortest there is
_ONE_ROOT = os.path.join(os.path.dirname(__file__), "one_root.pem")  # noqa: PTH118, PTH120 -- the hit path has no pathlib


def made_with_roots(
    make: Callable[[], Any], environ: Mapping[str, str], *, is_plain_http: bool, failure: type[Exception]
) -> Any:
    """What `make` makes. Raises what it raises; `failure` is what it may raise for want of certificates.

    A store without TLS that is asked with keys needs no certificate at all, and reading the machine's takes 6.5 ms (Debian
    has each of its 144 three times), botocore's 1.3. The client must have one, so it gets one. Credentials of a service
    account are asked for over TLS. A server that redirects to TLS is no way round: the client then leaves the keys out.
    """
    try:
        if is_plain_http and environ.get("AWS_ACCESS_KEY_ID"):
            with lent_change({"SSL_CERT_FILE": _ONE_ROOT, "SSL_CERT_DIR": None}):
                return make()
        return make()
    except failure:
        # an image without certificates, or a SSL_CERT_FILE of the engine's that is not in it
        with lent_change(_of_botocore()):
            return make()


def _of_botocore() -> dict[str, str | None]:
    """Without botocore's list the machine's stays."""
    lists = (os.path.join(entry, "botocore", "cacert.pem") for entry in sys.path)  # noqa: PTH118 -- most are no files
    found = next((one for one in lists if os.path.isfile(one)), None)  # noqa: PTH113 -- as above
    return {"SSL_CERT_FILE": found, "SSL_CERT_DIR": None} if found else {}
