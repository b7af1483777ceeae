"""What `register` writes: the version in MLflow's registry."""

from __future__ import annotations

from core.records import Record, VariantName


class Registration(Record):
    model_name: str
    model_version: int
    variant: VariantName
    manifest_sha256: str
    run_id: str
    alias: str
    created: bool  # False: the same manifest was already registered
