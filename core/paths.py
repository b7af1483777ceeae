"""Where stages leave their outputs. dvc.yaml names the same paths; a test holds the two together."""

from __future__ import annotations

from pathlib import Path

ARTIFACTS = Path("artifacts")
INPUTS = ARTIFACTS / "inputs.json"  # inputs: the identity of what lies outside the project
MODEL = ARTIFACTS / "model"  # prepare: the original weights, as resolved from model.source
DATA = ARTIFACTS / "data"  # prepare: a parquet file for each split of data/items.py
DATA_DOCS = ARTIFACTS / "data-docs"  # prepare: Great Expectations' data docs (one HTML site)
EXPORT = ARTIFACTS / "export"  # export: fused/ and standard/
CALIBRATION = ARTIFACTS / "calibration"  # calibrate
VARIANTS = ARTIFACTS / "variants"  # quantize: one immutable folder with manifest.json for each recipe
ENGINES = ARTIFACTS / "engines"  # compile: <recipe>/compile.json and one version folder for each GPU target
EVALUATION = ARTIFACTS / "evaluation"  # evaluate: <recipe>.json and <recipe>.parquet
BENCHMARK = ARTIFACTS / "benchmark"  # benchmark: <recipe>.json
CONFIRMATION = ARTIFACTS / "confirmation.json"  # confirm; every answer beside it as .parquet
DECISION = ARTIFACTS / "decision.json"  # select
REGISTRATION = ARTIFACTS / "registration.json"  # register
REPORTS = Path("reports")  # report: index.html and summary.md
CACHE = Path(".cache/assay")  # content-addressed: reference outputs, half-done evaluations
