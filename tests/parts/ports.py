"""Free TCP ports on loopback."""

from __future__ import annotations

from rehearsal.place import free_ports as free

__all__ = ["free"]
