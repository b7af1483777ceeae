"""What a person sees in the terminal: slots, users, and what the rollout does and why."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.gitlab_stand_in import Runner
from demo.sandbox import Sandbox
from demo.versions import Entry
from demo.watch import Watch, state_of
from rollout.chain import Event
from rollout.targets import SLOTS, Slot

LINES = 9  # the whole view fits a terminal of 24 lines
COLOURS = {"Succeeded": "bold green", "RolledBack": "bold yellow", "Aborted": "bold yellow", "Halted": "bold red"}


class View:
    """Rendered anew at each frame, from what the watch saw last. `say` is the line that says what comes next."""

    def __init__(self, sandbox: Sandbox, watch: Watch, runner: Runner) -> None:
        self._sandbox, self.watch, self._runner = sandbox, watch, runner
        self.say = ""

    def __rich__(self) -> RenderableType:
        links = Text.assemble(
            ("MLflow  ", "dim"),
            (ui(self._sandbox), f"link {ui(self._sandbox)} underline"),
            ("    gateway  ", "dim"),
            self.watch.target.gateway.url,
        )
        rollout = Group(*(line(event, self.watch.entries) for event in self.watch.transitions[-LINES:]))
        return Group(
            links,
            Panel(self._slots(), title="slots", title_align="left"),
            Panel(self._users(), title="users", title_align="left"),
            Panel(rollout, title=f"rollout{self._pipeline()}", title_align="left", height=LINES + 2),
            Text(self.say, style="bold cyan"),
        )

    def _slots(self) -> Table:
        table = Table.grid(padding=(0, 2))
        seen = self.watch.seen
        if seen is None:
            table.add_row("the gateway does not answer at this moment")
            return table
        for slot in SLOTS:
            state = seen.slots[slot]
            entry = next((one for one in self.watch.entries if one.version.digest == state.digest), None)
            version = f"version {entry.version.model_version}  {entry.name}" if entry else state.digest or ""
            digest = f"{state.digest[:12]}" if state.digest else ""
            table.add_row(
                Text(slot, style=slot), self._role(slot), version, digest, f"{_open(state.active_requests)}"
            )
        return table

    def _role(self, slot: Slot) -> Text:
        seen = self.watch.seen
        assert seen is not None
        if seen.live == slot:
            return Text("LIVE", style="bold green")
        if seen.slots[slot].empty:
            return Text("empty", style="dim")
        if not seen.slots[slot].ready:
            return Text("starts or stops", style="yellow")
        return Text("preview, gets copies" if seen.mirrored == slot else "idle, ready", style="cyan")

    def _users(self) -> Text:
        users = self.watch.users()
        lost = (f"{users.lost} lost", "bold red" if users.lost else "bold green")
        times = f"p50 {_ms(users.p50_ms)}   p95 {_ms(users.p95_ms)}"
        return Text.assemble(f"{users.per_s:5.1f} answers/s   {times}   {users.requests:,} requests   ", lost)

    def _pipeline(self) -> str:
        if not self._runner.pipelines:
            return ""
        last = self._runner.pipelines[-1]
        return f", pipeline {last.number} (version {last.version}) {'has ended' if last.ended else 'runs'}"


def line(event: Event, entries: list[Entry]) -> Text:
    """One transition."""
    state = state_of(event)
    at = time.strftime("%H:%M:%S", time.localtime(event.at))
    text = Text.assemble((at, "dim"), f"  version {event.model_version}  ", (f"{state:22}", COLOURS.get(state, "")))
    return Text.assemble(text, (f" {event.why}", "dim"), no_wrap=True, overflow="ellipsis")


def ui(sandbox: Sandbox) -> str:
    """The page of the registered model in MLflow's UI."""
    return f"{sandbox.mlflow}/#/models/{sandbox.settings.model.name}"


def _open(count: int | None) -> str:
    return "" if count is None else f"{count} open"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
