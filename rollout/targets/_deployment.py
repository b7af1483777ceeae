"""deploy/kubernetes/rollout/*.jinja as objects: what a cluster is asked to run for one version."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import runtimes
from models import manifest
from rollout.params import RolloutParams
from rollout.targets import Version

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes" / "rollout"


def render(name: str, settings: RolloutParams, *, version: Version, **values: Any) -> list[dict[str, Any]]:
    """The objects of one template, with the rollout's params and `values`; a value that is missing is an error."""
    templates = Environment(loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, autoescape=False)  # YAML
    text = templates.get_template(name).render(
        kube=settings.kubernetes,
        version=version,
        gpu=runtimes.traits(manifest.read(version.folder).runtime).needs_gpu,
        ready_s=math.ceil(settings.timeouts.ready_s),
        drain_s=math.ceil(settings.timeouts.drain_s),
        keep_s=settings.kubernetes.keep_s if settings.keep_previous else 1,
        **values,
    )
    return [found for found in yaml.safe_load_all(text) if found]
