"""A stand-in for the Hugging Face hub: one repository at one commit, through the HTTP calls its client makes.

Routes: docs/api of huggingface.co (`/api/models/{id}/tree/{revision}`) and `/{id}/resolve/{revision}/{file}`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    folder: Path
    repository: str
    commit: str
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)  # "GET /path", in order


@contextmanager
def hub(folder: Path, repository: str = "someone/model", commit: str = "a1" * 20) -> Iterator[Hub]:
    """Serve the files below `folder` as `repository` at `commit`."""
    served = Hub(folder, repository, commit)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": served}))
    served.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.repository not in path:
            self._send(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif self.hub.commit not in path:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        elif path == f"/api/models/{self.hub.repository}/tree/{self.hub.commit}":
            self._send(200, json.dumps(self._tree("recursive=true" in self.path.lower())).encode(), {})
        else:
            self._file(path.removeprefix(f"/{self.hub.repository}/resolve/{self.hub.commit}/"))

    def _tree(self, recursive: bool) -> list[dict[str, object]]:
        files = sorted(self.hub.folder.rglob("*") if recursive else self.hub.folder.glob("*"))
        return [
            {
                "type": "file" if file.is_file() else "directory",
                "path": file.relative_to(self.hub.folder).as_posix(),
                "size": file.stat().st_size if file.is_file() else 0,
                "oid": _etag(file) if file.is_file() else "0" * 40,
            }
            for file in files
        ]

    def _file(self, name: str) -> None:
        file = self.hub.folder / name
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.hub.commit})
            return
        self._send(200, file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": self.hub.commit})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Requests are kept in `Hub.requests`, not printed."""


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
