"""The one error of this package: a sentence for whoever runs it."""


class ClusterError(Exception):
    """What could not be had or started, and where to look."""
