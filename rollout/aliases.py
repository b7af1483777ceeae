"""The registry as a rollout needs it, and a `champion` that was changed otherwise: only a finished rollout may."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core import files, paths
from core.errors import IntegrityError, RegistryError
from core.records import Verdict
from models import manifest
from registry import store
from rollout.chain import Event
from rollout.record import RolloutRecord, Who
from rollout.states import State
from rollout.targets import Version

CHAMPION, PREVIOUS, APPROVED = "champion", "previous", "approved"
MANUAL_CHANGE = "alias_moved"  # kind of event
VERSIONS = paths.CACHE / "versions"  # <digest>/: fetched once, verified by every rollout
_VERDICTS: dict[str, Verdict] = {"pass": "pass", "passed": "pass", "fail": "fail", "failed": "fail"}


@dataclass(frozen=True)
class Registered:
    """A version as the registry has it."""

    number: int
    digest: str
    evidence: Verdict
    why: str  # where the verdict comes from


class Registry(Protocol):
    """Every call is safe to repeat, and raises RegistryError when the registry does not answer."""

    def version(self, number: int) -> Registered:
        """Version `number`. Raises RegistryError when there is none."""
        ...

    def by_digest(self, digest: str) -> Registered | None:
        """The version with this manifest, or None."""
        ...

    def alias(self, name: str) -> int | None:
        """The version number that an alias points at, or None."""
        ...

    def set_aliases(self, champion: int, previous: int | None) -> None:
        """Point `champion` and `previous`; `previous` is removed when None."""
        ...

    def folder(self, version: Registered) -> Path:
        """A local folder with the version's files; fetched when it is not there yet, not verified."""
        ...


def fetched(model_name: str, of: Registered, registry: Registry) -> Version:
    """The registered version as a target takes it, its files in a local folder. Raises RegistryError."""
    folder = registry.folder(of)
    return Version(model_name, of.number, of.digest, folder, files.folder_bytes(folder))


class MlflowRegistry:
    """The registered model `name` in the store that MLFLOW_TRACKING_URI names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._client: Any = store.connect()

    def version(self, number: int) -> Registered:
        with store.faults():
            return _registered(self._client.get_model_version(self.name, str(number)))

    def by_digest(self, digest: str) -> Registered | None:
        found = store.find(self._client, self.name, digest)
        return _registered(found) if found is not None else None

    def alias(self, name: str) -> int | None:
        with store.faults():
            aliases = self._client.get_registered_model(self.name).aliases
        return int(aliases[name]) if name in aliases else None

    def set_aliases(self, champion: int, previous: int | None) -> None:
        with store.faults():
            # `previous` first: whoever is killed between the two still knows where to go back to.
            if previous is None:
                self._client.delete_registered_model_alias(self.name, PREVIOUS)
            else:
                self._client.set_registered_model_alias(self.name, PREVIOUS, str(previous))
            self._client.set_registered_model_alias(self.name, CHAMPION, str(champion))

    def folder(self, version: Registered) -> Path:
        target = VERSIONS / version.digest
        if not target.is_dir():
            with store.faults(), files.atomic_folder(target) as empty:
                self._fetch(version, empty)
        return target.resolve()

    def _fetch(self, version: Registered, empty: Path) -> None:
        """The pyfunc's artifacts hold the variant's folder: the one whose manifest has the version's digest."""
        import mlflow

        scratch = empty / ".mlflow"
        mlflow.artifacts.download_artifacts(f"models:/{self.name}/{version.number}", dst_path=str(scratch))
        found = [
            file.parent for file in scratch.rglob(manifest.NAME) if manifest.digest(file.parent) == version.digest
        ]
        if not found:
            raise IntegrityError(
                f"version {version.number} of {self.name} holds no folder with manifest {version.digest[:12]}: its "
                "files in the artifact store are not what was registered; restore them or register it again"
            )
        for entry in found[0].iterdir():
            shutil.move(entry, empty / entry.name)
        shutil.rmtree(scratch)


def _registered(found: Any) -> Registered:
    """Pass only if `validation_status` says so and no single gate's `verdict.<gate>` says otherwise."""
    number, tags = int(found.version), found.tags
    if "manifest_sha256" not in tags:
        raise RegistryError(
            f"version {number} of {found.name} has no tag manifest_sha256: `register` did not make it"
        )
    status = tags.get("validation_status", "")
    evidence: Verdict = _VERDICTS.get(status, "inconclusive")
    stopped = sorted(
        f"{key} = {value}" for key, value in tags.items() if key.startswith("verdict.") and value != "pass"
    )
    if stopped and evidence == "pass":
        evidence = "fail" if any(entry.endswith("= fail") for entry in stopped) else "inconclusive"
    why = "; ".join([f"validation_status = {status or 'not set'}", *stopped])
    return Registered(number=number, digest=tags["manifest_sha256"], evidence=evidence, why=why)


def expected_champion(record: RolloutRecord, environment: str) -> int | None:
    """The version that the last successful rollout made champion; None when there is none, or one halted since."""
    last = record.newest(environment, State.SUCCEEDED, State.HALTED)
    return last.plan.version.model_version if last and last.state is State.SUCCEEDED else None


def report_manual_change(
    record: RolloutRecord, environment: str, model_name: str, champion: int | None, who: Who
) -> str | None:
    """What is wrong when alias `champion` is not where the last rollout left it, or None. Recorded once for each
    value since then."""
    wanted = expected_champion(record, environment)
    if wanted is None or champion == wanted:
        return None
    what = f"champion is {'not set' if champion is None else f'version {champion}'}, not version {wanted}"
    events = record.events("environment = ? AND kind IN (?, 'transition')", environment, MANUAL_CHANGE)
    ends = [index for index, event in enumerate(events) if event.what.endswith(f"-> {State.SUCCEEDED}")]
    if what not in {event.what for event in events[ends[-1] if ends else 0 :]}:
        why = "changed manually, not by a rollout; live traffic is unchanged"
        record.append(Event(time.time(), environment, None, MANUAL_CHANGE, who.name, what, why, model_name, champion))
    return f"{what}: changed manually, not by a rollout"
