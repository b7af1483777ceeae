"""What decides a gateway, and what a route is. Checked when made, no side effects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.params import JwtParams, Ports, RateLimitParams

Slot = Literal["blue", "green"]
SLOTS: tuple[Slot, Slot] = ("blue", "green")
SOCKET_PATH_BYTES = 107  # Linux: sun_path


class Settings(Ports):
    """One gateway. Everything it writes is below `folder`; its admin interface is a UNIX socket there, not a port."""

    folder: Path
    host: str = "127.0.0.1"
    threads: int = Field(
        default=1, ge=1, description="Envoy's workers; one is good for thousands of requests a second"
    )
    max_mirrored: int = Field(default=32, ge=1, description="copies under way at once; further ones are dropped")
    jwt: JwtParams | None = None
    rate_limit: RateLimitParams | None = None

    @model_validator(mode="after")
    def _socket_path_fits(self) -> Self:
        if len(str(self.admin_socket).encode()) > SOCKET_PATH_BYTES:
            raise ValueError(
                f"{self.admin_socket} is too long for a UNIX socket: choose a folder with a shorter path"
            )
        return self

    def slot_port(self, slot: Slot) -> int:
        """Where a slot listens, on loopback."""
        return self.blue_port if slot == "blue" else self.green_port

    @property
    def admin_socket(self) -> Path:
        """Readable and writable by this user only."""
        return self.folder.resolve() / "admin.sock"

    @property
    def bootstrap_file(self) -> Path:
        return self.folder.resolve() / "envoy.json"

    @property
    def clusters_file(self) -> Path:
        return self.folder.resolve() / "clusters" / "clusters.json"

    @property
    def routes_file(self) -> Path:
        return self.folder.resolve() / "routes" / "routes.json"

    @property
    def access_log(self) -> Path:
        """One JSON object a request, written when its stream closes."""
        return self.folder.resolve() / "access.log"


@dataclass(frozen=True)
class Route:
    """Where users' requests go. `generation` grows with every change."""

    generation: int = 0
    live: Slot | None = None  # None: 503
    mirror: Slot | None = None  # gets copies
    mirror_percent: float = 0.0  # of users' requests
    other_percent: float = 0.0  # of users' requests, that the slot beside `live` answers
