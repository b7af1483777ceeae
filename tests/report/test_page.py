"""The page and the summary: complete, self-contained, safe with hostile model texts, and the same every time."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.records import GpuRun
from core import params, paths
from data.records import DataCheck, DataChecks
from drift.records import Limit, Look, Metric
from evaluation import run
from evaluation.decoding import Decoding
from evaluation.plan import EvaluationPlan
from models import manifest
from report import charts, gpu, material, page
from report.svg import ROLES
from selection.records import Decision
from stages import report, select
from tests.report import fixtures, project


class Outline(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def outline(html: str) -> Outline:
    found = Outline()
    found.feed(html)
    return found


@pytest.fixture
def root(tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project.build(tmp_path, tiny_qwen2)
    monkeypatch.chdir(tmp_path)
    select.main()
    return tmp_path


def test_the_decision_is_on_top_and_every_section_is_there(root: Path) -> None:
    report.main()
    html = page.INDEX.read_text()
    found = outline(html)
    text = " ".join(found.text)
    assert Decision.read(paths.DECISION).sentence in text
    sections = {"variants", "tradeoff", "drift", "flips", "speed", "gates", "manifest", "made", "unmeasured"}
    assert sections <= set(found.values("id"))
    assert {link.removeprefix("#") for link in found.values("href") if link.startswith("#")} >= sections
    assert manifest.digest(paths.VARIANTS / "int8-static") in text
    assert found.tags["svg"] >= 8


def test_the_page_asks_for_nothing_and_runs_nothing(root: Path) -> None:
    report.main()
    found = outline(page.INDEX.read_text())
    assert not {"script", "img", "iframe", "link", "object", "form"} & found.tags.keys()
    assert not [name for name, _ in found.attributes if name.startswith("on") or name == "src"]
    assert all(link.startswith("#") for link in found.values("href") + found.values("xlink:href"))
    assert "default-src 'none'" in " ".join(found.values("content"))
    assert "url(http" not in page.INDEX.read_text()
    assert "@import" not in page.INDEX.read_text()


def test_a_hostile_answer_is_shown_as_text(root: Path) -> None:
    flips = [
        one.model_copy(update={"question": fixtures.HOSTILE, "variant_text": fixtures.HOSTILE, "task": "<b>x|y"})
        for one in fixtures.evaluation("int8-static").flip_examples
    ]
    evaluation = fixtures.evaluation("int8-static", flip_examples=flips, reason="<script>|`a`")
    project.save(root, evaluation, fixtures.benchmark("int8-static"))
    select.main()
    report.main()
    found = outline(page.INDEX.read_text())
    assert found.tags["script"] == found.tags["b"] == 0
    assert fixtures.HOSTILE in "".join(found.text)


def test_ids_are_unique_and_every_reference_resolves(root: Path) -> None:
    report.main()
    html = page.INDEX.read_text()
    found = outline(html)
    repeated = [name for name, count in Counter(found.values("id")).items() if count > 1]
    assert not repeated
    used = set(re.findall(r"url\(#([^)]+)\)", html)) | {link[1:] for link in found.values("xlink:href")}
    used |= {name for value in found.values("aria-labelledby") for name in value.split()}
    assert used <= set(found.values("id"))


def test_figures_take_their_colours_from_the_page(root: Path) -> None:
    report.main()
    html = page.INDEX.read_text()
    assert not [colour for colour in ROLES if colour in html.split("</style>", 1)[1]]
    style = (page.TEMPLATES / "style.css").read_text()
    assert not [role for role in ROLES.values() if style.count(f"--{role}:") != 2]  # light and dark


def test_the_same_records_give_the_same_bytes(root: Path) -> None:
    found = material.gather(params.load(material.Settings))
    assert page.html(found) == page.html(material.gather(params.load(material.Settings)))
    assert page.markdown(found) == page.markdown(found)


def test_nothing_passed_is_said_with_gate_and_reason(root: Path) -> None:
    for name in project.VARIANTS:
        project.save(
            root, fixtures.evaluation(name, verdict="fail", reason="lost 9 points"), fixtures.benchmark(name)
        )
    select.main()
    report.main()
    text = " ".join(outline(page.INDEX.read_text()).text)
    assert "Serve none of them" in text
    assert text.count("lost 9 points") >= 2
    assert "fp32: drift fail – lost 9 points" in page.SUMMARY.read_text()


def test_with_no_records_at_all_the_page_still_says_what_is_missing(root: Path) -> None:
    for name in project.VARIANTS:
        (paths.EVALUATION / f"{name}.json").unlink()
        (paths.BENCHMARK / f"{name}.json").unlink()
    (paths.VARIANTS / "fp32" / manifest.NAME).unlink()
    select.main()
    report.main()
    text = " ".join(outline(page.INDEX.read_text()).text)
    assert "Accuracy of fp32: no record." in text
    assert "fp32 has no manifest.json" in text


def test_not_measured_here_and_a_missing_batch_are_said(root: Path) -> None:
    metrics = fixtures.evaluation("int8-static").metrics
    unknown = [metric.model_copy(update={"value": None, "low": None, "high": None}) for metric in metrics]
    away: dict[str, Any] = {"status": "not_measured_here", "why_not_measured": "needs compute capability 8.0"}
    project.save(
        root,
        fixtures.evaluation("fp32", **away, verdict="inconclusive", delta_points=None, looks=[], metrics=[]),
        fixtures.benchmark("fp32", **away, workloads=[], load_ms=None, peak_rss_mib=None),
    )
    project.save(
        root,
        fixtures.evaluation("int8-static", metrics=unknown),
        fixtures.benchmark(
            "int8-static", samples=5, workloads=[fixtures.workload(2.0, 1, 5)], notes=["a busy machine"]
        ),
    )
    select.main()
    report.main()
    text = " ".join(outline(page.INDEX.read_text()).text)
    assert "Accuracy and speed of fp32: not measured here, needs compute capability 8.0." in text
    assert "fp32 : made, not measured here: needs compute capability 8.0." in text
    summary = page.SUMMARY.read_text()
    assert "Made, not measured here: fp32 – needs compute capability 8.0" in summary
    assert "| fp32 |" not in summary  # no column without a figure in it
    assert "Of int8-static, for want of data: answers lost, answers gained, McNemar p, exact, KL" in text
    assert "Speed of int8-static at batch 4, 8, 16." in text
    assert "5 requests, too few for a bound of the 95th percentile" in text
    assert "int8-static: a busy machine." in text


def test_what_would_settle_a_verdict_is_said_once_beside_it(root: Path) -> None:
    plan = EvaluationPlan(
        "int8-static", 0.25, params.load(material.Settings).evaluate, {}, Decoding(192, 1, 1), 1, claim="made up"
    )
    look = Look(items=6000, delta_points=-0.1, low_points=-0.6, high_points=0.4, items_to_settle=19000)
    reason = run.reason(plan, look, 6000)
    settle: dict[str, Any] = {"verdict": "inconclusive", "items_to_settle": 19000, "margin_points": 0.25}
    project.save(root, fixtures.evaluation("int8-static", reason=reason, **settle), fixtures.benchmark("int8-static"))
    select.main()
    report.main()
    html = page.INDEX.read_text()
    drift = html[html.index('id="drift"') : html.index('id="flips"')]
    assert drift.count("about 19,000 items would settle it") == 1
    assert "−0.25" in html[html.index('id="variants"') : html.index('id="drift"')]
    assert "stays within 0.25 points" in html


def test_figures_of_another_run_on_a_gpu_are_not_said_to_be_from_this_machine(root: Path) -> None:
    report.main()
    assert "GPUs: every figure is from AMD EPYC 9B14" in page.INDEX.read_text()
    shutil.copytree(project.ROOT / gpu.RESULTS, gpu.RESULTS)
    report.main()
    assert "GPUs: every figure but those of the section &#34;On a GPU&#34; is from AMD" in page.INDEX.read_text()


def test_what_was_not_measured_on_a_gpu_is_not_called_short(root: Path) -> None:
    run = GpuRun.read(project.ROOT / gpu.RESULTS / "gpu-h200.json")
    first, second, *_ = run.targets
    open_ = second.model_copy(update={"value": None, "low": None, "high": None, "by": ""})
    run.model_copy(update={"targets": [first, open_]}).save(gpu.RESULTS / "gpu-x.json")
    report.main()
    html = page.INDEX.read_text()
    asked = html[html.index('aria-label="What was asked for"') : html.index('aria-label="Profiles"')]
    assert [asked.count(f">{word}<") for word in ("met", "short", "not measured")] == [0, 1, 1]


def test_a_metric_that_nobody_knows_by_name_is_in_page_summary_and_gates(root: Path) -> None:
    reach = Metric(
        name="reach",
        label="How far it reaches",
        group="Reach",
        unit="furlongs",
        value=0.5,
        reference=0.25,
        count=77,
        counted="fields",
        limit=Limit(at_least=0.75),
    )
    known = fixtures.evaluation("int8-static")
    evaluation = known.model_copy(update={"metrics": [*known.metrics, reach]})
    project.save(root, evaluation, fixtures.benchmark("int8-static"))
    select.main()
    report.main()
    summary, html = page.SUMMARY.read_text(), page.INDEX.read_text()
    assert "| How far it reaches, furlongs | – | 0.25 → 0.5 |" in summary
    assert "| fields | – | 77 |" in summary
    assert "int8-static: reach fail – How far it reaches 0.5 against at least 0.75, 77 fields" in summary
    gates = html[html.index('id="gates"') :]
    assert "0.5, limit 0.75 furlongs" in " ".join(" ".join(outline(gates).text).split())
    # fp32 has no such gate: its other verdicts stay under their own headings
    heads = len({gate.gate for gate in Decision.read(paths.DECISION).gates}) + 2
    assert gates.split("<tr>")[1].count("<th") == gates.split("<tr>")[2].count("<td") == heads


def test_no_two_variants_are_drawn_alike() -> None:
    assert len({charts._style(index) for index in range(64)}) == 64


def test_what_great_expectations_found_is_part_of_the_page(root: Path) -> None:
    checks = [
        DataCheck(name="unique ids", column="id", items=10432, unexpected=0, passed=True),
        DataCheck(name="schema", column=None, items=10432, unexpected=None, passed=True),
    ]
    DataChecks(version="1.24.1", checks=checks).save(material.DATA_CHECKS)
    docs = paths.DATA_DOCS / "index.html"
    docs.write_text("<html></html>")
    report.main()
    found = outline(page.INDEX.read_text())
    text = " ".join(" ".join(found.text).split())
    assert "2 of 2 expectations hold" in text
    assert "unique ids id ✓ pass 10,432 0" in text
    assert "Whether the data meet their expectations" not in text
    (link,) = [link for link in found.values("href") if not link.startswith("#")]
    assert (page.INDEX.parent / link).resolve() == docs.resolve()


def test_the_summary_is_a_table_whose_rows_have_one_cell_a_variant(root: Path) -> None:
    report.main()
    summary = page.SUMMARY.read_text()
    rows = [line for line in summary.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(project.VARIANTS) + 2}
    assert manifest.digest(paths.VARIANTS / "int8-static") in summary
    assert "**int8-static**" in summary
