"""autotune-init: one pod finds the fleet's tuned kernels before its engine starts, or tunes once for everybody."""

from cache_store.version import __version__

__all__ = ["__version__"]
