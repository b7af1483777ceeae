"""Render the page (HTML) and the summary (Markdown) from what was gathered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core import paths
from report import charts, comparison, engines, gpu, text, unmeasured
from report.material import Material

TEMPLATES = Path(__file__).parent / "templates"
INDEX = paths.REPORTS / "index.html"
SUMMARY = paths.REPORTS / "summary.md"


def html(material: Material) -> str:
    """The whole page, self-contained: no script, no request. Model texts are escaped."""
    slo = material.settings.select.slo
    figures = {
        # Two drawings where one would be too small to read on a telephone; style.css shows one of them.
        "tradeoff": charts.tradeoff(material, "tradeoff", 640, 340),
        "tradeoff_narrow": charts.tradeoff(material, "tradeoff-narrow", 350, 330),
        "forest": charts.forest(material),
        "throughput": charts.throughput(material, "throughput", 640, 300),
        "throughput_narrow": charts.throughput(material, "throughput-narrow", 350, 340),
        "itl": charts.latency(material, "itl", slo.itl_p95_ms),
        "ttft": charts.latency(material, "ttft", slo.ttft_p95_ms),
        "looks": {one.name: charts.looks(one.name, one.evaluation) for one in material.variants if one.evaluation},
    }
    style = Markup((TEMPLATES / "style.css").read_text())
    return _environment().get_template("page.html.jinja").render(_context(material), style=style, figures=figures)


def markdown(material: Material) -> str:
    """The summary for a merge request: decision, gates and the table of variants."""
    return _environment().get_template("summary.md.jinja").render(_context(material))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: bool(name) and ".html" in str(name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (text.signed, text.bounds, text.estimate, text.percent, text.number, text.times, text.figure, text.size)
    environment.filters |= {function.__name__: function for function in filters}
    environment.filters["cell"] = _markdown_cell
    environment.globals["divergence"] = text.divergence
    return environment


def _context(material: Material) -> dict[str, Any]:
    gates: list[str] = list(dict.fromkeys(gate.gate for gate in material.decision.gates))
    versions: dict[str, str] = {}
    measured = [one.evaluation for one in material.shown if one.evaluation and one.evaluation.status == "measured"]
    samples = max((one.samples for one in measured), default=1)
    on_gpu = gpu.tables({one.name: one.manifest_sha256 for one in material.variants if one.manifest_sha256})
    for one in material.variants:
        versions |= one.benchmark.machine.versions if one.benchmark else {}
        versions |= one.manifest.libraries if one.manifest else {}
    return {
        "m": material,
        "decision": material.decision,
        "decoding": text.decoding(samples),
        "about": text.target(measured[0].target) if measured else "",
        "powers": measured[0].power if measured else [],
        "chosen": material.chosen,
        "groups": comparison.groups(material),
        "tasks": comparison.tasks(material),
        "gates": gates,
        "engines": engines.rows(material.compilations, material.measured),
        "profiles": engines.profiles(material.compilations),
        "gpu": on_gpu,
        "unmeasured": unmeasured.notes(material, kept_from_gpu=bool(on_gpu)),
        "params": yaml.safe_dump(material.settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        "versions": dict(sorted(versions.items())),
        "data_docs": os.path.relpath(material.data_docs, paths.REPORTS) if material.data_docs else None,
        "machine": next((one.benchmark.machine for one in material.variants if one.benchmark), None),
    }


def _markdown_cell(value: str) -> str:
    """Text for one cell of a Markdown table: on one line, without what would start markup."""
    flat = " ".join(value.split())
    for sign in "\\`*_[]<>|":
        flat = flat.replace(sign, f"\\{sign}")
    return flat
