"""The pods of one slot as a SlotState and a Sample: read through the API server's pod proxy, all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from core.errors import TargetError
from rollout import scrape
from rollout.targets import Sample, Slot, SlotState
from rollout.targets.cluster.api import Api, Object
from rollout.targets.cluster.deployment import ClusterOptions

DIGEST_HEADER = "x-assay-manifest"
INFLIGHT = "assay_inflight_requests"


def state(
    api: Api, options: ClusterOptions, slot: Slot, pods: list[Object], hash_label: str, ready: bool
) -> SlotState:
    """One slot. Ready when its owner says so and every pod answers with one and the same digest."""
    alive = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    if not alive:
        return SlotState()
    digests = {_digest(api, options, pod) for pod in alive}
    digest = digests.pop() if len(digests) == 1 else None
    return SlotState(
        digest=digest,
        identity=identity(alive, hash_label),
        ready=ready and digest is not None,
        active_requests=_open_requests(api, options, alive),
        url=options.url(slot),
    )


def identity(pods: list[Object], hash_label: str) -> str:
    """Template hash and restarts: a container that was started again is another process."""
    hashes = sorted({pod["metadata"]["labels"].get(hash_label, "?") for pod in pods})
    restarts = sum(
        container.get("restartCount", 0)
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses", [])
    )
    return f"{'+'.join(hashes)}.{restarts}"


def sample(api: Api, options: ClusterOptions, pods: list[Object], hash_label: str) -> Sample:
    """Counters of all pods added up. Raises TargetError when one does not answer."""
    now = time.time()
    if not pods:
        return Sample(now, None)
    found = [scrape.sample(api.text(_proxy(api, options, pod, "metrics")), now, None) for pod in pods]
    return replace(
        found[0],
        identity=identity(pods, hash_label),
        requests=sum(one.requests for one in found),
        errors=sum(one.errors for one in found),
        empty=sum(one.empty for one in found),
        truncated=sum(one.truncated for one in found),
        ttft_ms=_added([one.ttft_ms for one in found]),
        itl_ms=_added([one.itl_ms for one in found]),
    )


def _digest(api: Api, options: ClusterOptions, pod: Object) -> str | None:
    try:
        status, headers = api.headers(_proxy(api, options, pod, "health/ready"))
    except TargetError:
        return None  # it is not up yet, or no longer
    return headers.get(DIGEST_HEADER) if status == 200 else None


def _open_requests(api: Api, options: ClusterOptions, pods: list[Object]) -> int | None:
    total = 0
    for pod in pods:
        try:
            text = api.text(_proxy(api, options, pod, "metrics"))
        except TargetError:
            return None
        total += sum(int(float(line.rsplit(" ", 1)[1])) for line in text.splitlines() if line.startswith(INFLIGHT))
    return total


def _added(histograms: list[Mapping[float, int]]) -> dict[float, int]:
    total: Counter[float] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return dict(total)


def _proxy(api: Api, options: ClusterOptions, pod: Object, path: str) -> str:
    return api.path("v1", "pods", f"{pod['metadata']['name']}:{options.port}/proxy/{path}")
