"""Free TCP ports on loopback."""

from __future__ import annotations

import socket


def free(count: int, below: int = 65536) -> list[int]:
    """`count` different ports that nothing listens on now, all lower than `below`."""
    held: list[socket.socket] = []
    ports: list[int] = []
    while len(ports) < count:
        listener = socket.socket()
        held.append(listener)
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if port < below:
            ports.append(port)
    for listener in held:
        listener.close()
    return ports
