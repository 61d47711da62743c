"""A real one-node Kubernetes on one small machine, or only its API server, for tests. See README.md beside this file.

from tools.cluster import api_server
with api_server() as api: ...
"""

from tools.cluster.bare_api import ApiServer, api_server
from tools.cluster.errors import ClusterError

__all__ = ["ApiServer", "ClusterError", "api_server"]
