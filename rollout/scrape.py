"""A slot's /metrics (serving/metrics.py lists them) as a Sample. Seconds become milliseconds."""

from __future__ import annotations

from collections import Counter, defaultdict

from core.errors import TargetError
from rollout.targets import Sample


def sample(text: str, at: float, identity: str | None) -> Sample:
    """Parse the exposition format; several label sets (endpoints) are added up. Raises TargetError if malformed."""
    from prometheus_client.parser import text_string_to_metric_families

    counts: Counter[str] = Counter()
    histograms: dict[str, Counter[float]] = defaultdict(Counter)
    try:
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                if name == "assay_requests_total":
                    counts["requests"] += int(value)
                    counts["errors"] += int(value) if int(labels["code"]) >= 500 else 0
                elif name == "assay_answers_total":
                    counts[labels["kind"]] += int(value)
                elif name in ("assay_ttft_seconds_bucket", "assay_itl_seconds_bucket"):
                    histograms[name.split("_")[1]][round(float(labels["le"]) * 1000, 6)] += int(value)
    except (ValueError, KeyError) as error:
        raise TargetError(f"the slot's /metrics cannot be read: {error}") from error
    return Sample(
        at=at,
        identity=identity,
        requests=counts["requests"],
        errors=counts["errors"],
        empty=counts["empty"],
        truncated=counts["truncated"],
        ttft_ms=dict(histograms["ttft"]),
        itl_ms=dict(histograms["itl"]),
    )
