"""cache_store: bundles of tuned kernels in an object store, written once under conditional puts, read in one request.

The bucket's side of autotune-cache. Knows no GPU, engine or Kubernetes.
"""

from cache_store.version import __version__

__all__ = ["__version__"]
