"""What FlashInfer's `_collect_metadata` writes, by release: the fields, their order, and how it spells "no cuDNN".

Read in the released wheels (flashinfer/autotuner.py up to 0.6.14, flashinfer/autotuner/autotuner.py from 0.6.15):
0.6.7, 0.6.8, 0.6.9, 0.6.10 | 0.6.11, 0.6.11.post1, 0.6.12, 0.6.13, 0.6.14, 0.6.15 | 0.6.15.post1, 0.6.16, 0.6.17,
0.6.18.post1 | 0.7.0.post1, 0.7.1, 0.7.2, 0.7.2.post1. Within a bar the collector's code is the same, comments aside.
"""

from __future__ import annotations

import re

from cache_store.dataclass import dataclass
from cache_store.pattern import pattern

_RELEASE = pattern(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:\.post(\d{1,4}))?\Z", re.ASCII)


@dataclass(frozen=True)
class CollectorRules:
    """One stretch of releases. `no_cudnn` is what an undetectable cuDNN is written as.

    `asks_frontend` says that cudnn-frontend's `backend_version()` is tried where torch has no cuDNN version.
    """

    first: str
    last: str
    fields: tuple[str, ...]
    no_cudnn: str
    asks_frontend: bool


_BASE = ("flashinfer_version", "cuda_version", "cublas_version", "cudnn_version")
_WITH_FRONTEND = (*_BASE, "cudnn_frontend_version", "gpu")
_WITH_DSL = (*_BASE, "cudnn_frontend_version", "cutlass_dsl_version", "gpu")

RULES = (
    # the first release that writes _metadata is 0.6.7 (#2554)
    CollectorRules("0.6.7", "0.6.10", (*_BASE, "gpu"), no_cudnn="None", asks_frontend=False),
    CollectorRules("0.6.11", "0.6.15", _WITH_FRONTEND, no_cudnn="None", asks_frontend=False),
    # _get_cudnn_backend_version came with #3970
    CollectorRules("0.6.15.post1", "0.6.18.post1", _WITH_FRONTEND, no_cudnn="unknown", asks_frontend=True),
    CollectorRules("0.7.0", "0.7.2.post1", _WITH_DSL, no_cudnn="unknown", asks_frontend=True),
)


def rules_for(flashinfer_version: str) -> CollectorRules | None:
    """The rules of a release, or None for one that nobody has read: then only its own collector may answer."""
    wanted = _release(flashinfer_version)
    if wanted is None:
        return None
    for rules in RULES:
        first, last = _release(rules.first), _release(rules.last)
        if first is not None and last is not None and first <= wanted <= last:
            return rules
    return None


def _release(version: str) -> tuple[int, int, int, int] | None:
    """Comparable; None for what is no plain release (rc, dev, nightly, a local version, a source checkout)."""
    match = _RELEASE.match(version)
    if match is None:
        return None
    major, minor, patch, post = match.groups()
    return int(major), int(minor), int(patch), int(post) + 1 if post else 0
