"""The local rollout under load: `python -m benchmarks.rollout [part ...] [--requests N] [--per-s R]`.

loss     rollouts and rollbacks, one after another, under steady keep-alive and streaming requests to echo slots:
         requests lost, and the time from the command to switch to the first answer of the new version
real     the same with two real variants, at a rate that generation bears (needs `dvc repro quantize`)
cost     requests directly to a slot and through the gateway, in turn: what the gateway adds
memory   one slot of a real variant against blue and green together (needs `dvc repro quantize`)

The client, the gateway and the slots share this machine's cores. Writes benchmarks/results/rollout.json, which
keeps the other parts if they are from this machine; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from core import cli, files, paths
from core.errors import DataError, RuntimeFault
from host import description
from pipelines import params
from rehearsal import local_target, switching
from rehearsal.traffic import LoadProfile, Traffic
from rollout.targets import SLOTS, Slot, Version, local

RESULT = Path("benchmarks/results/rollout.json")
PARTS = ("loss", "real", "cost", "memory")
STEP_MS = 5.0  # of the echo slots in `loss`: a stream lasts for 100 ms or more, so that every switch meets open ones
REST_S = 2.0
LOG_S = 1.5  # until the gateway has written the last line of its log
REAL_PER_S = 5.0
REAL_REQUESTS = 300
PAIRS = 300  # requests each way, in one round of `cost`

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--per-s", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=20, help="of cost")
    parser.add_argument("--variant", default="fp32", help="of memory, and the first one of real")
    parser.add_argument("--other-variant", default="int8-weight", help="the second one of real")
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="assay-") as name:
        folder = Path(name)
        for part in given.parts or PARTS:
            with description.Others() as others:
                if part == "loss":
                    versions = [local_target.version(folder / "loss", number, step_ms=STEP_MS) for number in (1, 2)]
                    found[part] = loss(folder / "l", versions, LoadProfile("", given.per_s), given.requests)
                elif part == "real":
                    versions = [
                        _variant(name, 1 + at) for at, name in enumerate((given.variant, given.other_variant))
                    ]
                    profile = LoadProfile("", REAL_PER_S, check=False)
                    found[part] = loss(folder / "r", versions, profile, REAL_REQUESTS)
                elif part == "cost":
                    found[part] = cost(folder, given.rounds)
                else:
                    found[part] = memory(folder, given.variant)
            found[part]["others_cpu_share"] = round(others.share, 2)
            print("\n".join(rows(part, found[part])), flush=True)
            _keep(given.result, {part: found[part]})
    print(json.dumps(found))


def _keep(result: Path, part: Figures) -> None:
    """Into the file as soon as it is measured: a later part that fails takes none with it."""
    now = {"machine": description.describe(params.load().machine.threads).model_dump(), **part}
    before = json.loads(result.read_text()) if result.exists() else {}
    files.write_text(result, json.dumps(merged(before, now), indent=2) + "\n")


def merged(before: Figures, now: Figures) -> Figures:
    """`now` over the parts of `before`, which stay only where machine and versions are the same."""
    return before | now if before.get("machine") == now["machine"] else now


def loss(state: Path, versions: Sequence[Version], profile: LoadProfile, requests: int) -> Figures:
    """Requests lost in rollouts and rollbacks, and how soon users see the new version."""
    with local_target.stack(state, serve={"max_queue": 1000}) as (settings, target):
        local.up(settings, versions[0])
        traffic = Traffic(replace(profile, url=target.gateway.url)).start()
        began_s = time.monotonic()
        switches = switching.back_and_forth(target, versions, lambda: len(traffic.requests) < requests, REST_S, 30)
        traffic.stop()
        took_s = time.monotonic() - began_s
        time.sleep(LOG_S)
        outdated = switching.outdated(switches, target.gateway.settings.access_log)
        counts = [target.gateway.counts(slot) for slot in ("blue", "green")]
    firsts = switching.first_on_new_ms(switches, traffic.requests)
    return {
        "requests": len(traffic.requests),
        "lost": len(traffic.lost),
        "streams": sum(one.stream for one in traffic.requests),
        "streams_cut": sum(one.stream for one in traffic.lost),
        "late": len(switching.late(switches, traffic.requests)),
        "outdated_route": len(outdated),
        "why": sorted({str(one.lost) for one in traffic.lost})[:5],
        "per_s": round(len(traffic.requests) / took_s, 1),
        "switches": len(switches),
        "confirmed_ms": _spread([1000 * (one.confirmed - one.commanded) for one in switches]),
        "first_on_new_ms": _spread(firsts),
        "mirrored": sum(count.mirrored for count in counts),
        "mirror_dropped": sum(count.dropped for count in counts),
        "gateway_5xx": sum(count.users_5xx for count in counts),
        "gateway_cut": sum(count.cut for count in counts),
        "gateway_retried": sum(count.retried for count in counts),
        "answer_ms": _spread([1000 * (one.ended - one.began) for one in traffic.requests]),
    }


def cost(folder: Path, rounds: int) -> Figures:
    """Latency of whole answers, direct and through the gateway, taken in turn; differences are taken by round."""
    version = local_target.version(folder / "cost", 1)
    with local_target.stack(folder / "c") as (settings, target):
        local.up(settings, version)
        direct, through = target.slots["blue"].url, target.gateway.url
        samples = asyncio.run(_in_turn(direct, through, rounds))
    by_round = {
        quantile: [_quantile(gateway, at) - _quantile(alone, at) for alone, gateway in samples]
        for quantile, at in (("p50", 0.50), ("p99", 0.99))
    }
    alone = [value for pair in samples for value in pair[0]]
    gateway = [value for pair in samples for value in pair[1]]
    return {
        "requests_each": len(alone),
        "rounds": rounds,
        "direct_ms": {"p50": _quantile(alone, 0.5), "p99": _quantile(alone, 0.99)},
        "gateway_ms": {"p50": _quantile(gateway, 0.5), "p99": _quantile(gateway, 0.99)},
        "added_p50_ms": round(_quantile(gateway, 0.5) - _quantile(alone, 0.5), 3),
        "added_p99_ms": round(_quantile(gateway, 0.99) - _quantile(alone, 0.99), 3),
        "added_by_round_ms": {name: _spread(values) for name, values in by_round.items()},
    }


async def _in_turn(direct: str, through: str, rounds: int) -> list[tuple[list[float], list[float]]]:
    import aiohttp

    async def ask(session: aiohttp.ClientSession, url: str) -> float:
        began_s = time.perf_counter()
        async with session.post(f"{url}/predict", json={"text": "1 2 3", "max_tokens": 16}) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeFault(f"{url} answered {answer.status}")
        return 1000 * (time.perf_counter() - began_s)

    found = []
    async with aiohttp.ClientSession() as session:
        for number in range(-1, rounds):  # the first one warms up
            alone: list[float] = []
            gateway: list[float] = []
            for pair in range(PAIRS):
                ways = [(direct, alone), (through, gateway)]
                for url, values in ways if pair % 2 else ways[::-1]:
                    values.append(await ask(session, url))
            if number >= 0:
                found.append((alone, gateway))
    return found


def memory(folder: Path, variant: str) -> Figures:
    """Resident and proportional memory (pages that both map are halved) of the server processes, after answers."""
    version = _variant(variant)
    files_folder = version.folder
    with local_target.stack(folder / "m") as (settings, target):
        local.up(settings, version)
        _work(target.slots["blue"].url)
        one = _memory_mib(target, ["blue"])
        target.start("green", version)
        local.wait_ready(target, "green", version.digest, settings.rollout.timeouts.ready_limit_s(version.bytes))
        _work(target.slots["green"].url)
        both = _memory_mib(target, ["blue", "green"])
        mapped = [_mapped_mib(target, slot, files_folder) for slot in SLOTS]
        gateway = target.gateway.process
        gateway_mib = psutil.Process(gateway.pid).memory_info().rss / 2**20 if gateway else 0.0
    return {
        "variant": variant,
        "files_mib": round(files.folder_bytes(files_folder) / 2**20, 1),
        "files_mapped_mib": dict(zip(SLOTS, mapped, strict=True)),  # resident, in each; physically once
        "one_mib": one,
        "both_mib": both,
        "ratio": {kind: round(both[kind] / one[kind], 3) for kind in one},
        "gateway_rss_mib": round(gateway_mib, 1),
    }


def _variant(name: str, number: int = 1) -> Version:
    folder = paths.VARIANTS / name
    if not folder.is_dir():
        raise DataError(f"{folder} not found: run `dvc repro quantize` first")
    return local_target.real(folder, number)


def _work(url: str) -> None:
    traffic = Traffic(LoadProfile(url, per_s=8, requests=32, check=False)).start()
    traffic.join()
    if traffic.lost:
        raise RuntimeFault(f"the slot lost {len(traffic.lost)} requests, first: {traffic.lost[0].lost}")


def _memory_mib(target: local.LocalTarget, slots: Sequence[Slot]) -> dict[str, float]:
    total = {"rss": 0.0, "pss": 0.0}
    for slot in slots:
        found = target.slots[slot].process
        if found is None:
            raise RuntimeFault(f"{slot} has ended")
        info = psutil.Process(found.pid).memory_full_info()
        total = {kind: total[kind] + getattr(info, kind) / 2**20 for kind in total}
    return {kind: round(value, 1) for kind, value in total.items()}


def _mapped_mib(target: local.LocalTarget, slot: Slot, folder: Path) -> float:
    """How much of the version's files a slot has mapped into its memory rather than copied."""
    found = target.slots[slot].process
    maps = psutil.Process(found.pid).memory_maps() if found else []
    return round(sum(one.rss for one in maps if one.path.startswith(str(folder.resolve()))) / 2**20, 1)


def _quantile(values: Sequence[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 3)


def _spread(values: Sequence[float]) -> dict[str, float]:
    """Median, p99, lowest, highest and count."""
    if not values:
        return {"count": 0}
    middle, highest = statistics.median(values), _quantile(values, 0.99)
    named = {"median": middle, "p99": highest, "low": min(values), "high": max(values)}
    return {name: round(value, 2) for name, value in named.items()} | {"count": len(values)}


def rows(part: str, figures: Figures) -> list[str]:
    """One figure a line, nested ones on their own line."""
    lines = [f"── {part}"]
    for name, value in figures.items():
        text = "  ".join(f"{key} {inner}" for key, inner in value.items()) if isinstance(value, dict) else value
        lines.append(f"{name:20} {text}")
    return lines


if __name__ == "__main__":
    cli.run(main)
