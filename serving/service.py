"""One version being served: its parts, and whether it takes requests."""

from __future__ import annotations

from dataclasses import dataclass

import runtimes
from core import plugins
from core.errors import ConfigError, ResourceError
from models import manifest, tokenizer, tokenizer_identity
from models.tokenizer import Tokenizer
from runtimes import Engine
from serving.auth import Keys
from serving.cache import Cache
from serving.metrics import Metrics
from serving.scheduler import Scheduler
from serving.server_settings import Settings
from serving.wire import ApiError

# The longest step is a chunk of a prompt, whose work grows with the weights: 15 GB have 300 s.
STEP_BYTES_PER_S = 50e6


@dataclass
class Service:
    """Made by `load`; `draining` turns true once and stays so."""

    settings: Settings
    digest: str
    version_bytes: int
    names: frozenset[str]  # what a client may put into `model`
    tokenizer: Tokenizer
    scheduler: Scheduler
    metrics: Metrics
    keys: Keys
    cache: Cache | None
    inflight: int = 0
    draining: bool = False

    @property
    def trouble(self) -> str | None:
        """Why the engine is of no use: it failed, or hangs."""
        return self.scheduler.trouble(max(self.settings.step_limit_s, self.version_bytes / STEP_BYTES_PER_S))

    @property
    def ready(self) -> bool:
        """Whether a gateway should send requests here."""
        return not self.draining and self.trouble is None

    @property
    def prompt_limit(self) -> int:
        """Longest prompt, in tokens: it leaves room for one token at least."""
        room = self.scheduler.engine.context_tokens - 1
        return min(room, self.settings.max_prompt_tokens or room)

    def admit(self) -> None:
        """Raise ApiError 503 if no new request may start."""
        if self.draining:
            raise ApiError(
                503,
                f"the {self.settings.slot} slot is stopping: send the request again",
                "stopping",
                headers={"Retry-After": "1"},
            )
        if why := self.trouble:
            raise ApiError(503, f"the engine has failed: {why}", "engine_failed")


def load(settings: Settings) -> Service:
    """Verify the folder, then load it.

    Raises IntegrityError that names each wrong file, before a byte is loaded; RuntimeFault that names a text of which
    the tokenizer here makes other ids than the version was made with.

    ResourceError where the version's runtime cannot run on this machine.
    """
    made = manifest.verify(settings.folder)
    digest = manifest.digest(settings.folder)
    tokenizer_identity.verify(settings.folder)
    keys = Keys(settings.api_keys_file)
    plugin = plugins.load("runtimes", made.runtime)
    if not hasattr(plugin, "engine"):
        raise ConfigError(f"the runtime '{made.runtime}' of {settings.folder} cannot serve: it has no engine")
    if why := runtimes.why_not_here(made.runtime):
        raise ResourceError(f"the runtime '{made.runtime}' of {settings.folder} cannot run here: {why}")

    def make() -> Engine:
        engine: Engine = plugin.engine(settings.folder, settings.threads, settings.max_batch)
        return engine

    metrics = Metrics(digest, settings.slot)

    def count(running: int, waiting: int) -> None:
        metrics.batch.observe(running)

    return Service(
        settings=settings,
        digest=digest,
        version_bytes=sum(entry.bytes for entry in made.files.values()),
        names=frozenset({settings.model_name, made.variant, digest, digest[:12]}),
        tokenizer=tokenizer.load(settings.folder),
        scheduler=Scheduler(make, settings.max_queue, settings.queue_delay_ms, count),
        metrics=metrics,
        keys=keys,
        cache=Cache(settings.redis_url.get_secret_value(), digest, settings.cache_ttl_s)
        if settings.redis_url
        else None,
    )
