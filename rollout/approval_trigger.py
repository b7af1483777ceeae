"""Carries the wanted approval to a pipeline: intent, call, outcome, a bounded number of tries."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rollout import approval, locks
from rollout.aliases import Registry
from rollout.approval import Approval, PipelineError, Pipelines, Standing
from rollout.approval_record import ApprovalRecord
from rollout.record import Who

PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # between the tries of one call; what then still fails is left to `reconcile`


def carry(
    record: ApprovalRecord,
    registry: Registry,
    pipelines: Pipelines,
    environment: str,
    model_name: str,
    who: Who,
    source: str,
    pauses_s: Sequence[float] = PAUSES_S,
    sleep: Callable[[float], object] = time.sleep,
) -> Approval | None:
    """Trigger what is approved now, unless that was done; return the approval as it stands then, or None.

    Every try looks at the registry anew: what was approved a minute ago may not be approved any more. While another
    process does this, or another version's rollout is under way, it stays wanted. Raises RegistryError.
    """
    with locks.taken(Path(f"{record.path}.{environment}.approval.lock")) as mine:
        if not mine:
            return record.newest_approval(environment, model_name)
        for pause_s in (*pauses_s, None):
            found = record.take(approval.look(registry, environment, model_name, source, time.time()), who)
            if found is None or found.standing is not Standing.WANTED:
                return found
            if (under_way := record.unfinished(environment)) is not None:
                version = under_way.plan.version.model_version
                why = f"rollout {under_way.id} of version {version} is unfinished: `reconcile` triggers it after that"
                record.not_triggered(found, why, who, time.time(), tried=False)
                break
            record.intend_trigger(found, who, time.time())
            try:
                url = pipelines.trigger(found)
            except PipelineError as error:
                record.not_triggered(found, str(error), who, time.time())
                if error.lasting or pause_s is None:
                    break
                sleep(pause_s)
            else:
                record.triggered(found, url, who, time.time())
                break
        return record.newest_approval(environment, model_name)
