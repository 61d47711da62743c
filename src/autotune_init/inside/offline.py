"""No network for an engine that is only asked a question."""

from __future__ import annotations

import socket


def no_network() -> None:
    """Looking a model up in the hub must fail as it does without a network, not download.

    HF_HUB_OFFLINE would do that too, but with it vLLM replaces a hub name by the path of its snapshot, and the path of
    the model is part of the key.
    """

    def refuse(_self: object, address: object) -> None:
        if isinstance(address, tuple):  # AF_INET, AF_INET6; AF_UNIX addresses are texts
            raise OSError(101, "network is unreachable: a question about the cache does not download")

    class Offline(socket.socket):
        connect = refuse
        connect_ex = refuse  # type: ignore[assignment] # it answers a number

    socket.socket = Offline  # type: ignore[misc] # the point of it
    socket.getaddrinfo = lambda *_a, **_k: (_ for _ in ()).throw(socket.gaierror(-2, "no network"))
