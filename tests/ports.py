"""Ports for servers that tests start."""

import random
import socket

_LOWEST, _HIGHEST = (
    12_000,
    32_000,
)  # below the ports the system gives to outgoing connections, which could take ours first


def free_port() -> int:
    """Return a loopback port nobody listens on, and which no outgoing connection will be given."""
    while True:
        port = random.SystemRandom().randrange(_LOWEST, _HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
