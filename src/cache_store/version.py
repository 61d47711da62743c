"""The distribution's version. A constant: reading package metadata costs 20 ms that a hit does not have to spend."""

__version__ = "0.1.0"
