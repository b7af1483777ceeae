"""From a wanted approval to one pipeline: by the relay, and by `reconcile` when a webhook or a trigger was lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from approval import standing
from approval.ledger import ApprovalLedger
from approval.standing import PIPELINE_S, Approval, PipelineError, Pipelines, Standing
from approval.webhook import Inbox
from core.errors import AssayError
from rollout import locks
from rollout.aliases import Registry
from rollout.record import Rollout, Who
from rollout.repair import Finding
from rollout.session import Session

PAUSES_S = (1.0, 2.0, 4.0, 8.0)  # between the tries of one call; what then still fails is left to `reconcile`
LOG = logging.getLogger("assay.relay")


def trigger_wanted(
    ledger: ApprovalLedger,
    registry: Registry,
    pipelines: Pipelines,
    environment: str,
    model_name: str,
    who: Who,
    source: str,
    pauses_s: Sequence[float] = PAUSES_S,
    sleep: Callable[[float], object] = time.sleep,
) -> Approval | None:
    """Trigger the pipeline of what is approved now, unless that was done; return the approval as it stands then, or
    None when nothing is approved.

    Intent, call, outcome; every try reads the registry again, as the alias may have moved in between. While another
    process does this, or another version's rollout is under way, the approval stays wanted. Raises RegistryError.
    """
    with locks.try_lock(Path(f"{ledger.path}.{environment}.approval.lock")) as locked:
        if not locked:
            return ledger.newest_approval(environment, model_name)
        for pause_s in (*pauses_s, None):
            found = ledger.take(standing.look(registry, environment, model_name, source, time.time()), who)
            if found is None or found.standing is not Standing.WANTED:
                return found
            if (under_way := ledger.unfinished(environment)) is not None:
                version = under_way.plan.version.model_version
                why = f"rollout {under_way.id} of version {version} is unfinished: `reconcile` triggers it after that"
                ledger.not_triggered(found, why, who, time.time(), tried=False)
                break
            ledger.intend_trigger(found, who, time.time())
            try:
                url = pipelines.trigger(found)
            except PipelineError as error:
                ledger.not_triggered(found, str(error), who, time.time())
                if error.lasting or pause_s is None:
                    break
                sleep(pause_s)
            else:
                ledger.triggered(found, url, who, time.time())
                break
        return ledger.newest_approval(environment, model_name)


class TriggerThread(threading.Thread):
    """Triggers what deliveries made wanted, one at a time, beside the requests; first what an earlier run left."""

    def __init__(self, inbox: Inbox, pipelines: Pipelines) -> None:
        super().__init__(name="trigger", daemon=True)
        self._inbox, self._pipelines = inbox, pipelines
        self._wanted, self._ending = threading.Event(), threading.Event()
        self._wanted.set()

    def wake(self) -> None:
        """An approval is wanted."""
        self._wanted.set()

    def end(self, wait_s: float) -> None:
        """No further try; the one under way may finish."""
        self._ending.set()
        self._wanted.set()
        self.join(wait_s)

    def run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ending.is_set():
                return
            self._trigger()

    def _trigger(self) -> None:
        inbox = self._inbox
        try:
            found = trigger_wanted(
                inbox.ledger, inbox.registry, self._pipelines, inbox.environment, inbox.model_name, inbox.who,
                source="relay", sleep=self._ending.wait,
            )  # fmt: skip
        except AssayError as error:
            LOG.error("left to reconcile: %s", error)
            return
        if found is not None:
            line = {"approval": found.id, "version": found.model_version, "standing": found.standing}
            LOG.info(found.why, extra={"fields": line | {"pipeline_url": found.pipeline_url}})


def find_lost(session: Session, connect: Callable[[], Pipelines], dry: bool) -> Iterator[Finding]:
    """For `reconcile`: an approval whose webhook was lost, or that GitLab did not take, is triggered, once."""
    ledger, name = ApprovalLedger(session.record.path), session.settings.model.name
    seen = standing.look(session.registry, session.environment, name, "reconcile", time.time())
    if dry:
        found = ledger.newest_approval(session.environment, name)
        if seen.approved is not None and ledger.judge(seen, found).standing is Standing.WANTED:
            what = f"version {seen.approved.number} is approved and was not triggered: would be"
            yield Finding("approval", what, problem=True)
            return
    else:
        found = ledger.take(seen, session.who)
        if found is not None and found.standing is Standing.WANTED:
            found = trigger_wanted(
                ledger, session.registry, connect(), session.environment, name, session.who, "reconcile"
            )
    if found is not None and seen.approved is not None:
        yield _describe(found, ledger.rollout_of(found), ledger.true_champion(seen))


def _describe(found: Approval, rollout: Rollout | None, champion: int | None) -> Finding:
    """Where the approval stands. One that had its rollout and did not stay champion is over, and no problem."""
    version, problem = f"version {found.model_version}", False
    if champion == found.model_version:
        what = f"{version} is champion"
    elif rollout is not None and not rollout.finished:
        what = f"{version} is under way: {rollout.id} is {rollout.state}"
    elif rollout is not None:
        what = f"{version}: {rollout.id} ended {rollout.state}: {rollout.why}; approve it again to retry"
    elif found.standing is Standing.TRIGGERED:
        problem = time.time() - found.changed_at > PIPELINE_S
        what = f"{version}: {found.why}, no rollout began yet" + ("; look at the pipeline" if problem else "")
    else:
        failed = found.standing is Standing.WANTED and found.attempts > 0 and not found.interrupted
        problem = failed or found.standing is Standing.REFUSED
        what = f"{version} is {found.standing}: {found.why}"
    return Finding("approval", what, problem, found.pipeline_url)
