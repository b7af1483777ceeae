"""ONNX to engine: parse, aim, set profiles, build, and read what came out.

Source: TensorRT's Python API (Builder, OnnxParser, IBuilderConfig); the same calls in TensorRT 10, 11 and RTX.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from core import files
from core.errors import EngineError
from core.progress import say
from models.families import Architecture
from trt import inspect
from trt.inspect import Layer
from trt.library import Library
from trt.profiles import Profile

TimingCache: TypeAlias = Literal["new", "reused", "remade"]

WEIGHTS = re.compile(r"Total Weights Memory: (\d+) bytes")
ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")


@dataclass(frozen=True)
class Built:
    """A serialized engine and what the builder said of it. `activation_bytes` is of the largest profile."""

    plan: memoryview  # of the builder's own memory: an engine is as large as its weights
    layers: list[Layer]
    weights_bytes: int
    activation_bytes: int
    timing_cache: TimingCache
    build_s: float


def build(
    library: Library,
    graph: Path,
    capability: str,
    architecture: Architecture,
    profiles: Sequence[Profile],
    workspace_mib: int,
    timing_cache: Path,
) -> Built:
    """Compile the strongly typed `graph` (model.onnx with its external data beside it) for `capability`.

    Raises EngineError naming the operator and node that TensorRT does not take, or with its message.
    """
    module = library.module
    log = _logger(module)
    builder = module.Builder(log)
    network = builder.create_network(_strongly_typed(module))
    parser = module.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        raise EngineError(f"{graph}: {library.name} {library.version} {_first_error(parser)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, workspace_mib << 20)
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    library.aim(config, capability)
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        for name, corners in profile.shapes(architecture).items():
            shapes.set_shape(name, *corners)
        config.add_optimization_profile(shapes)
    state = attach_timings(config, timing_cache)
    start = time.perf_counter()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        last = next((text for kind, text in reversed(log.messages) if kind == "error"), "it gave no reason")
        raise EngineError(
            f"{graph}: {library.name} {library.version} made no engine for {capability}: {last.strip()}"
        )
    build_s = time.perf_counter() - start
    keep_timings(config, timing_cache)
    texts = [text for _, text in log.messages]
    return Built(
        plan=memoryview(plan),
        layers=_layers(module, log, plan, texts),
        weights_bytes=_largest(WEIGHTS, texts),
        activation_bytes=_largest(ACTIVATIONS, texts),
        timing_cache=state,
        build_s=build_s,
    )


def _logger(module: Any) -> Any:
    """Keeps everything the builder says: its verbose log is the only place that lists the layers without a GPU."""

    class Log(module.ILogger):  # type: ignore[misc]  # the base class comes with the library
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.messages: list[tuple[str, str]] = []

        def log(self, severity: Any, message: str) -> None:
            grave = severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR)
            self.messages.append(("error" if grave else "note", message))

    return Log()


def _strongly_typed(module: Any) -> int:
    """Types are the graph's. A TensorRT without the flag knows no other kind of network."""
    flag = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _layers(module: Any, log: Any, plan: Any, texts: Sequence[str]) -> list[Layer]:
    """From the log where the builder lists them (TensorRT-RTX), else from the engine, which needs its GPU."""
    if any(text.startswith(inspect.HEADING) for text in texts):
        return inspect.from_log(texts)
    engine = module.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError("the engine can be inspected neither in the builder's log nor by loading it on this GPU")
    inspector = engine.create_engine_inspector()
    return inspect.from_inspector(inspector.get_engine_information(module.LayerInformationFormat.JSON))


def _first_error(parser: Any) -> str:
    if not parser.num_errors:
        return "could not read the graph and gave no reason"
    error = parser.get_error(0)
    node = f"does not take operator {error.node_operator()} at node {error.node_name()}"
    reason = error.desc().strip().splitlines()
    return f"{node}: {reason[-1] if reason else error.code()}"


def _largest(pattern: re.Pattern[str], texts: Sequence[str]) -> int:
    found = [int(match[1]) for text in texts if (match := pattern.search(text))]
    if not found:
        raise EngineError(
            f"the builder's log has no line '{pattern.pattern}': this version words it differently, see trt/build.py"
        )
    return max(found)


def read_timings(path: Path) -> tuple[bytes, TimingCache]:
    """The timing cache's content, or b"" for a new one; a file that does not match its digest counts as remade."""
    try:
        digest, _, blob = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return b"", "new"
    if digest.decode("ascii", "replace") == files.sha256_bytes(blob):
        return blob, "reused"
    say(f"compile: timing cache {path} is damaged (its digest differs): making it anew")
    return b"", "remade"


def write_timings(path: Path, blob: bytes) -> None:
    """Keep `blob` with its digest, atomically."""
    files.write_bytes(path, files.sha256_bytes(blob).encode() + b"\n" + blob)


def attach_timings(config: Any, path: Path) -> TimingCache:
    """Give a builder config the cache kept in `path`; one that the library refuses is reported and made anew."""
    blob, state = read_timings(path)
    with _as_before():
        if config.set_timing_cache(config.create_timing_cache(blob), ignore_mismatch=False):
            return state
        say(f"compile: timing cache {path} is of another TensorRT or GPU: making it anew")
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return "remade"


def keep_timings(config: Any, path: Path) -> None:
    """Write what the builder learned."""
    with _as_before():
        cache = config.get_timing_cache()
        write_timings(path, bytes(cache.serialize()) if cache is not None else b"")


def _as_before() -> warnings.catch_warnings[None]:
    """TensorRT-RTX marks these calls as deprecated and times nothing; TensorRT proper saves most of a rebuild."""
    return warnings.catch_warnings(action="ignore", category=DeprecationWarning)
