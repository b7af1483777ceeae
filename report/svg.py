"""Matplotlib figures as inline SVG that follows the page: its fonts, its colours in light and dark, its width."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from markupsafe import Markup

# Colours in a figure stand for roles; in the page each becomes a CSS variable (see templates/style.css).
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#fefefe"
PASS, FAIL, UNSURE = "#040404", "#050505", "#060606"
SERIES = ("#0a0001", "#0a0002", "#0a0003", "#0a0004", "#0a0005", "#0a0006", "#0a0007", "#0a0008")
BASELINE = "#070707"
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
ROLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "card", PASS: "pass", FAIL: "fail", UNSURE: "unsure"}
ROLES |= {BASELINE: "baseline"} | {colour: f"s{index}" for index, colour in enumerate(SERIES, 1)}

STYLE = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's own font
    "svg.hashsalt": "assay",  # the same figure gives the same bytes
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.labelsize": 11,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
    "lines.solid_capstyle": "butt",
}
POINTS_PER_INCH = 72


class Canvas:
    """One figure being drawn; `markup` is set when the `with` block of `canvas` ends."""

    figure: Any
    axes: Any
    markup: Markup


@contextmanager
def canvas(name: str, title: str, description: str, width: int, height: int) -> Iterator[Canvas]:
    """A figure of `width` by `height` CSS pixels. `name` prefixes its ids; `title`, `description` are for readers."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawing = Canvas()
    with mpl.rc_context(STYLE):
        drawing.figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), layout="constrained")
        drawing.axes = drawing.figure.add_subplot()
        yield drawing
        stream = io.StringIO()
        drawing.figure.savefig(stream, format="svg", metadata={"Date": None})
    drawing.markup = _inline(stream.getvalue(), name, title, description)


def _inline(svg: str, name: str, title: str, description: str) -> Markup:
    """Cut the document down to its <svg>; prefix its ids, put CSS variables for colours, add title and text."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    for colour, role in ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    svg = re.sub(r'(\bid=")', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", svg)
    size = re.search(r'viewBox="([^"]+)"', svg)
    assert size  # matplotlib always writes one
    head = (
        f'<svg class="chart" viewBox="{size[1]}" role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(description)}</desc>'
    )
    return Markup(head + svg[svg.index(">") + 1 :])
