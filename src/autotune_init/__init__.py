"""autotune-init: one pod finds the fleet's tuned kernels before its engine starts, or tunes once for everybody."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # lazily: reading package metadata costs milliseconds that a hit does not have to spend
    if name == "__version__":
        from importlib.metadata import version

        return version("autotune-cache")
    raise AttributeError(name)
