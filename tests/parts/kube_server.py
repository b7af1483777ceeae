"""The stand-in's HTTP side: the verbs, watches, the pod proxy and what goes wrong on the way."""

from __future__ import annotations

import copy
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from serving.metrics import Metrics
from tests.parts.kube import TOKEN, Cluster, Object

TICK_S = 0.005


class Server:
    """The API on a free port, with its controllers running."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self._stop = cluster, threading.Event()
        handler = type("Handler", (_Handler,), {"cluster": cluster})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.02,)),
            threading.Thread(target=self._run),
        ]

    def __enter__(self) -> Server:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            self.cluster.tick()


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind, name, rest, query = self._where()
        if not self._allowed():
            return
        if rest[:1] == ["proxy"]:
            self._proxy(name.split(":")[0], "/".join(rest[1:]))
        elif not name and "watch" in query:
            self._watch(kind, query)
        elif not name:
            with self.cluster.changed:
                items = self.cluster.all(kind, **_labels(query))
                self._answer(200, {"metadata": {"resourceVersion": str(self.cluster.version)}, "items": items})
        else:
            found = self.cluster.objects.get(kind, {}).get(name)
            self._answer(200, found) if found else self._status(404, f"{name} not found")

    def do_PATCH(self) -> None:
        kind, name, rest, query = self._where()
        changes = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        with self.cluster.changed:
            old = self.cluster.objects.get(kind, {}).get(name)
            if "apply-patch" in self.headers["Content-Type"]:
                if "fieldManager" not in query:
                    self._status(422, "fieldManager is required")
                else:
                    meta = (old or {}).get("metadata", {}) | changes["metadata"]
                    self._answer(
                        200 if old else 201, self.cluster.put(kind, (old or {}) | changes | {"metadata": meta})
                    )
                return
            if old is None:
                self._status(404, f"{name} not found")
                return
            if self.cluster.conflicts and "resourceVersion" in changes.get("metadata", {}):
                self.cluster.conflicts -= 1
                labels = old["metadata"].get("labels", {}) | {"touched": str(self.cluster.version)}
                old = self.cluster.put(kind, old | {"metadata": old["metadata"] | {"labels": labels}})
            if (
                changes.get("metadata", {}).get("resourceVersion", old["metadata"]["resourceVersion"])
                != old["metadata"]["resourceVersion"]
            ):
                self._status(409, "the object has been modified; please apply your changes to the latest version")
                return
            if rest == ["status"]:
                changes = {"status": changes["status"]}
            self._answer(200, self.cluster.put(kind, _merged(old, changes)))

    def do_DELETE(self) -> None:
        kind, name, _, _ = self._where()
        if self._allowed():
            self._answer(200, {}) if self.cluster.remove(kind, name) else self._status(404, f"{name} not found")

    def log_message(self, *_: object) -> None:
        pass

    def _where(self) -> tuple[str, str, list[str], dict[str, str]]:
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        group = "v1" if parts[0] == "api" else f"{parts[1]}/{parts[2]}"
        after = parts[parts.index("namespaces") + 2 :]
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.cluster.seen.append((self.command, url.path))
        return f"{group}/{after[0]}", after[1] if len(after) > 1 else "", after[2:], query

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._status(401, "Unauthorized")
            return False
        with self.cluster.changed:
            slow = self.cluster.slow > 0
            self.cluster.slow -= int(slow)
        if slow:
            time.sleep(self.cluster.slow_s)
        return True

    def _watch(self, kind: str, query: dict[str, str]) -> None:
        cluster, wanted, since = self.cluster, _labels(query), int(query["resourceVersion"])
        with cluster.changed:
            if cluster.expired:
                cluster.expired -= 1
                self._status(410, "too old resource version")
                return
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        end = time.monotonic() + float(query.get("timeoutSeconds", 60))
        while time.monotonic() < end:
            with cluster.changed:
                news = [entry for entry in cluster.watched if entry[0] > since and entry[1] == kind]
                if not news:
                    cluster.changed.wait(0.02)
            for version, _, what, found in news:
                since = version
                if wanted.items() <= found["metadata"].get("labels", {}).items():
                    try:
                        self.wfile.write(json.dumps({"type": what, "object": found}).encode() + b"\n")
                        self.wfile.flush()
                    except OSError:
                        return

    def _proxy(self, name: str, path: str) -> None:
        pod = self.cluster.objects.get("v1/pods", {}).get(name)
        if pod is None or not self.cluster.ready(pod):
            self._status(503, "no endpoints available")
            return
        notes, labels = pod["metadata"]["annotations"], pod["metadata"]["labels"]
        served = Metrics(notes["assay/digest"], labels["slot"])
        age_s = time.monotonic() - pod["born"]
        for _ in range(int(age_s * 100)):
            served.request(200, "chat")
        content = served.text(lambda: 0) if path == "metrics" else b"{}"
        self.send_response(200)
        self.send_header("x-assay-manifest", notes["assay/digest"])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _status(self, code: int, message: str) -> None:
        self._answer(code, {"kind": "Status", "status": "Failure", "code": code, "message": message})

    def _answer(self, code: int, body: Object) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True  # the client did not wait


def _labels(query: dict[str, str]) -> dict[str, str]:
    pairs = [part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part]
    return {key: value for key, value in pairs}  # noqa: C416 - pairs are lists


def _merged(old: Any, changes: Any) -> Any:
    """RFC 7396."""
    if not isinstance(changes, dict):
        return copy.deepcopy(changes)
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
