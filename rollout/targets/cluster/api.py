"""The few calls of the Kubernetes API that a rollout needs, over httpx. Every one has a time-out.

Address and token: inside a cluster from the service account, elsewhere from ASSAY_KUBE_URL, ASSAY_KUBE_TOKEN (or
ASSAY_KUBE_TOKEN_FILE) and ASSAY_KUBE_CA (a file).
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from core.errors import ConfigError, TargetError

Object = dict[str, Any]
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MANAGER = "assay-rollout"  # field manager of server-side apply


class Conflict(TargetError):  # noqa: N818 - Kubernetes' word
    """The object changed since it was read: read it again."""


class Gone(TargetError):  # noqa: N818 - Kubernetes' word
    """The watched resourceVersion is too old: list again."""


class Api:
    """One namespace. Paths are relative to it: `path("apps/v1", "deployments", "assay-blue")`."""

    def __init__(self, namespace: str, timeout_s: float) -> None:
        url, token, verify = _account()
        self.namespace, self.timeout_s = namespace, timeout_s
        self._http = httpx.Client(base_url=url, auth=_bearer(token), verify=verify, timeout=timeout_s)

    def path(self, group: str, kind: str, name: str = "") -> str:
        """Of one object, or of a list without `name`."""
        root = "/api/v1" if group == "v1" else f"/apis/{group}"
        return f"{root}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def get(self, path: str) -> Object | None:
        """One object, None when there is none."""
        response = self._send("GET", path)
        return None if response.status_code == 404 else self._object(response)

    def listed(self, path: str, labels: str) -> Object:
        """A list object: `items`, and the resourceVersion to watch from."""
        return self._object(self._send("GET", path, params={"labelSelector": labels}))

    def apply(self, path: str, wanted: Object) -> Object:
        """Server-side apply: create the object or make these fields so."""
        content = json.dumps(wanted)
        kind = {"Content-Type": "application/apply-patch+yaml"}
        query = {"fieldManager": MANAGER, "force": "true"}
        return self._object(self._send("PATCH", path, params=query, content=content, headers=kind))

    def merge(self, path: str, changes: Object) -> Object:
        """Merge patch. With `metadata.resourceVersion` in `changes` it raises Conflict if the object moved on."""
        content = json.dumps(changes)
        kind = {"Content-Type": "application/merge-patch+json"}
        return self._object(self._send("PATCH", path, content=content, headers=kind))

    def delete(self, path: str) -> None:
        """Delete an object and what it owns; one that is not there is fine."""
        response = self._send("DELETE", path, params={"propagationPolicy": "Background"})
        if response.status_code != 404:
            self._object(response)

    def text(self, path: str) -> str:
        """What a pod answers through the API server's proxy. Raises TargetError unless it is a 200."""
        response = self._send("GET", path)
        if response.status_code != 200:
            raise TargetError(f"{path} answered {response.status_code}")
        return response.text

    def headers(self, path: str) -> tuple[int, httpx.Headers]:
        """Status and headers of a pod's answer through the proxy."""
        response = self._send("GET", path)
        return response.status_code, response.headers

    def until(self, path: str, labels: str, holds: Callable[[list[Object]], bool], deadline: float) -> bool:
        """List, then watch, until `holds(items)`; False at `deadline` (monotonic). When Gone, list anew."""
        while time.monotonic() < deadline:
            found = self.listed(path, labels)
            items = {item["metadata"]["name"]: item for item in found["items"]}
            if holds(list(items.values())):
                return True
            try:
                for event in self._watch(path, labels, found["metadata"]["resourceVersion"], deadline):
                    name = event["object"]["metadata"]["name"]
                    if event["type"] == "DELETED":
                        items.pop(name, None)
                    else:
                        items[name] = event["object"]
                    if holds(list(items.values())):
                        return True
            except Gone:
                continue
        return False

    def _watch(self, path: str, labels: str, version: str, deadline: float) -> Iterator[Object]:
        left_s = max(1, int(deadline - time.monotonic()))
        query = {"labelSelector": labels, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(left_s)}
        try:
            with self._http.stream("GET", path, params=query, timeout=left_s + 1) as response:
                if response.status_code == 410:
                    raise Gone(f"{path}: resourceVersion {version} is too old")
                response.raise_for_status()
                for line in response.iter_lines():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise Gone(f"{path}: {event['object'].get('message', 'the watch ended')}")
                    yield event
                    if time.monotonic() >= deadline:
                        return
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise TargetError(f"watching {path}: {error}") from error

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **more)
        except (httpx.HTTPError, OSError) as error:
            what = f"no answer in {self.timeout_s:g} s" if isinstance(error, httpx.TimeoutException) else str(error)
            raise TargetError(f"Kubernetes API, {method} {path}: {what}") from error

    def _object(self, response: httpx.Response) -> Object:
        where = f"{response.request.method} {response.request.url.path}"
        if response.status_code == 409:
            raise Conflict(f"{where}: the object has changed meanwhile")
        if response.status_code == 410:
            raise Gone(f"{where}: gone")
        try:
            body: Object = response.json()
        except ValueError:
            body = {}
        if response.is_error:
            raise TargetError(f"Kubernetes API, {where}: {response.status_code} {body.get('message', '')}".strip())
        return body


def at(found: Object) -> Object:
    """The begin of a change to exactly the object that was read: it is refused if the object moved on."""
    return {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}}


def _bearer(token: Callable[[], str | None]) -> Callable[[httpx.Request], httpx.Request]:
    """Puts what `token` gives into each request."""

    def sign(request: httpx.Request) -> httpx.Request:
        if found := token():
            request.headers["Authorization"] = f"Bearer {found}"
        return request

    return sign


def _account() -> tuple[str, Callable[[], str | None], ssl.SSLContext | bool]:
    """Address, token and how to check the server's certificate. A file is read for each request: the kubelet replaces
    a pod's token before it expires, after an hour, and a rollout may wait as long for a person."""
    url, authority = os.environ.get("ASSAY_KUBE_URL"), os.environ.get("ASSAY_KUBE_CA")
    token, token_file = os.environ.get("ASSAY_KUBE_TOKEN"), os.environ.get("ASSAY_KUBE_TOKEN_FILE")
    if not url and (host := os.environ.get("KUBERNETES_SERVICE_HOST")):
        url = f"https://{host}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}"
        authority, token_file = authority or str(ACCOUNT / "ca.crt"), token_file or str(ACCOUNT / "token")
    if not url:
        raise ConfigError("no cluster: run inside one, or set ASSAY_KUBE_URL and ASSAY_KUBE_TOKEN_FILE")

    def read() -> str | None:
        return token or (Path(token_file).read_text().strip() if token_file else None)

    try:
        read()  # fails at once if the name is wrong
        return url, read, ssl.create_default_context(cafile=authority) if authority else True
    except OSError as error:
        raise ConfigError(f"the cluster's account cannot be read: {error}") from error
