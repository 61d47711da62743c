"""cache_store: bundles of tuned kernels in an object store, written once under conditional puts, read in one request.

The bucket's side of autotune-cache. Knows no GPU, engine or Kubernetes.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # lazily: reading package metadata costs milliseconds that a hit does not have to spend
    if name == "__version__":
        from importlib.metadata import version

        return version("autotune-cache")
    raise AttributeError(name)
