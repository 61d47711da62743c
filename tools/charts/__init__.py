"""The engine charts and custom resource definitions that the overlays are tested against; see fetch.py."""
