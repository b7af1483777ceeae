"""What a cluster is asked to run for one version: deploy/kubernetes/rollout/*.jinja as objects, and their options."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field, model_validator

import runtimes
from core.params import Section
from models import manifest
from rollout.params import RolloutParams
from rollout.targets import Version

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes" / "rollout"
DNS_LABEL = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # RFC 1123: what a cluster takes for a name


class ClusterOptions(Section):
    """Where a target on a cluster finds things; the objects are in deploy/kubernetes/rollout/."""

    namespace: str = Field(default="assay", pattern=DNS_LABEL)
    image: str = Field(
        default=f"assay/server@sha256:{64 * '0'}",
        pattern="@sha256:[0-9a-f]{64}$",
        description="the server's, by digest and never by tag: what CI's job `build` prints",
    )
    replicas: int = Field(default=1, ge=1)
    port: int = Field(default=8000, ge=1, le=65535)
    claim: str = Field(
        default="assay-versions", pattern=DNS_LABEL, description="volume claim with one folder for each digest"
    )
    slot_url: str = Field(default="http://assay-{slot}.{namespace}.svc:{port}", description="bypasses the gateway")

    def url(self, slot: str) -> str:
        """Where the pods of one slot are asked."""
        return self.slot_url.format(slot=slot, namespace=self.namespace, port=self.port)

    @model_validator(mode="after")
    def _url_can_be_made(self) -> Self:
        try:
            self.url("blue")
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError(
                f"slot_url {self.slot_url!r} may name {{slot}}, {{namespace}} and {{port}} only"
            ) from error
        return self


def render(
    name: str, options: ClusterOptions, rollout: RolloutParams, *, version: Version, **values: Any
) -> list[dict[str, Any]]:
    """The objects of one template, with the rollout's params and `values`; a value that is missing is an error."""
    templates = Environment(loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, autoescape=False)  # YAML
    text = templates.get_template(name).render(
        kube=options,
        version=version,
        gpu=runtimes.traits(manifest.read(version.folder).runtime).needs_gpu,
        ready_s=math.ceil(rollout.timeouts.ready_limit_s(version.bytes)),
        drain_s=math.ceil(rollout.timeouts.drain_s),
        **values,
    )
    return [found for found in yaml.safe_load_all(text) if found]
