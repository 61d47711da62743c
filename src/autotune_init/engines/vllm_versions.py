"""Where vLLM keeps FlashInfer's autotune results, release by release, as data.

0.31.0 to 0.33.0 were read in the releases' own wheels: `model_executor/warmup/flashinfer_autotune_cache.py` (the path and
its hash) and `model_executor/warmup/kernel_warmup.py::flashinfer_autotune` (who reads and writes). The rows before are
from the pull requests that made them (vLLM 42537, 42857, 43119, 54794); no path is made from a row that is not
`resolvable`. Common to all rows:

    key     sha256 in hex over the release's `VllmConfig.compute_hash`: not to be had without importing vLLM
    folder  <VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR>/<key>, else
            <VLLM_CACHE_ROOT>/flashinfer_autotune_cache/<flashinfer version>/<arch>/<key>

Releases before 0.25 tune at every start: 0.22 to 0.24 have the code, switched off by
`_FLASHINFER_USE_PERSISTENT_CACHE = False` (vLLM pull request 43119).
"""

from __future__ import annotations

from typing import Literal

from cache_store.dataclass import dataclass

_CACHE = "model_executor/warmup/flashinfer_autotune_cache.py"
_WARMUP = "model_executor/warmup/kernel_warmup.py"

Files = Literal["one", "per-rank"]


@dataclass(frozen=True)
class Release:
    """One release's way.

    `files`: one file for all ranks (`autotune_configs.json`), or one a rank (`autotune_configs_dp<dp>_rank<rank>.json`).
    `several_ranks`: ranks beyond one use the files at all. `managed_store`: a world of one rank uses FlashInfer's own
    store instead. `hashes_environment`: every VLLM_* variable that is not on a list is part of the key.
    `resolvable`: inside/resolve_vllm.py knows what this release's worker does before it asks for the file.
    """

    version: str
    source: str
    files: Files
    several_ranks: bool = True
    managed_store: bool = False
    hashes_environment: bool = False
    resolvable: bool = False


RELEASES: tuple[Release, ...] = (
    Release("0.25.0", _WARMUP, "one", several_ranks=False, hashes_environment=True),
    Release("0.26.0", _WARMUP, "one", several_ranks=False, hashes_environment=True),
    Release("0.27.0", _CACHE, "one", hashes_environment=True),
    Release("0.28.0", _CACHE, "one", hashes_environment=True),
    Release("0.29.0", _CACHE, "one", hashes_environment=True),
    Release("0.30.0", _CACHE, "one"),
    Release("0.31.0", _CACHE, "one"),
    Release("0.32.0", _CACHE, "per-rank"),
    Release("0.33.0", _CACHE, "per-rank", managed_store=True, resolvable=True),
)

BY_VERSION = {release.version: release for release in RELEASES}
FIRST, LAST = RELEASES[0].version, RELEASES[-1].version
LAST_WITHOUT_CACHE = (0, 24)
