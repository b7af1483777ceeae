"""What any later consumer would refuse is refused when params.yaml is read: one line, one key, no other exception."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core import params as core_params
from core import plugins
from core.errors import ConfigError
from models.params import ModelParams
from pipelines import params

PATH = Path(__file__).parents[2] / "params.yaml"
SHIPPED: dict[str, Any] = yaml.safe_load(PATH.read_text())
Place = tuple[str | int, ...]


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every key and every entry of params.yaml, at any depth."""
    entries: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in entries:
        yield (*place, key)
        yield from _places(part, (*place, key))


def _changed(place: Place, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(SHIPPED)
    part: Any = changed
    for key in place[:-1]:
        part = part.setdefault(key, {}) if isinstance(part, dict) else part[key]
    part[place[-1]] = value
    return changed


def _check(found: dict[str, Any]) -> params.Params:
    return core_params.check(params.Params, found, Path("params.yaml"))


def _refusal(place: str, value: Any) -> str:
    """The message with which params are refused when `value` stands at `place`."""
    with pytest.raises(ConfigError) as caught:
        _check(_changed(tuple(place.split("/")), value))
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert "\n" not in message
    return message.removeprefix("params.yaml: ")


BEFORE, LOCAL = "rollout/before/success_condition/errors", "rollout/targets/local"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("seed", -1, "seed: Input should be greater than or equal to 0"),
        ("seed", 2**32, "seed: Input should be less than 4294967296"),
        ("model/source", "", "model.source: String should have at least 1 character"),
        ("model/revision", "main", "model.revision: String should match pattern"),
        ("model/name", "team/assay", "model.name: 'team/assay' is no name for MLflow: "),
        ("machine/threads", 0, "machine.threads: Input should be greater than or equal to 1"),
        ("evaluate/alpha", float("nan"), "evaluate.alpha: Input should be a finite number"),
        ("evaluate/margin_points", float("inf"), "evaluate.margin_points: Input should be a finite number"),
        ("evaluate/metrics/kl", {"limit": 1}, "evaluate.metrics.kl: limit: Extra inputs are not permitted"),
        ("evaluate/batch", 33, "evaluate.batch is 33, but runtime 'ort' takes at most 32 sequences at once"),
        ("data/suites", {}, "data.suites: Dictionary should have at least 1 item"),
        ("data/suites/mine", {"kind": "none"}, "data.suites.mine.kind: data.suites has no 'none'"),
        ("data/suites/reasoning/options", {"tasks": ["x"]}, "data.suites.reasoning.options: tasks: "),
        ("data/calibration_share", 0.9999, "data: calibration_share 0.9999 leaves none of the 4000"),
        ("benchmark/batches", [], "benchmark.batches: [] must rise from 1, the batch that gates judge"),
        ("benchmark/batches", [4, 8], "benchmark.batches: [4, 8] must rise from 1"),
        ("benchmark/batches", [1, 8, 4], "benchmark.batches: [1, 8, 4] must rise from 1"),
        ("benchmark/batches", [0, 1], "benchmark.batches: [0, 1] must rise from 1"),
        ("benchmark/batches", [1, 64], "the last of benchmark.batches is 64, but runtime 'ort' takes at most 32"),
        ("compile/targets/..", {"compute_capability": "8.9", "memory_mib": 1}, "compile.targets....[key]: String"),
        ("compile/targets/l4.json", {"compute_capability": "8.9", "memory_mib": 1}, "l4.json.[key]: String"),
        ("compile/context_tokens", 384, None),
        ("compile/context_tokens", 383, "compile: prefill_tokens must not exceed context_tokens"),
        ("generation/max_tokens", 512, "recipes.trt-fp16: compile.context_tokens is 512, which gen"),
        ("select/compare_with", "fp33", "select.compare_with: no recipe 'fp33'; known: fp32, fp16"),
        ("ci/runners", {"fp33": "gpu"}, "ci: no recipe 'fp33' for ci.runners"),
        ("ci/runners", {"fp32": ""}, "ci.runners.fp32: String should have at least 1 character"),
        ("rollout/suite", "jokes", "rollout.suite: no suite 'jokes'; known: reasoning"),
        ("rollout/environment", "", "rollout.environment: String should have at least 1 character"),
        (BEFORE, "error_rat <= 1", "rollout.before.success_condition: errors: success_condition "),
        (BEFORE, "error_rate <=", "is not an expression"),
        (BEFORE, "(" * 150 + "requests" + ")" * 150, "has 308 characters, more than 300"),
        (BEFORE, "-" * 291 + "1 <= 1e999", "has 301 characters"),
        (BEFORE, "-" * 290 + "1 <= 1e999", None),
        (BEFORE, "__import__('os') <= 1", "is not allowed here"),
        (LOCAL, {"blue_port": 8080}, "local: port, blue_port and green_port must be three different"),
        (LOCAL, {"serve": {"max_bach": 1}}, "local: serve: server settings: max_bach: Extra inputs"),
        (LOCAL, {"serve": {"port": 1}}, "local: serve: port cannot be set here"),
        ("rollout/targets/kubernetes", {"namespace": "My_Team"}, "kubernetes: namespace: String should match"),
        ("rollout/targets/kubernetes", {"slot_url": "http://{pod}"}, "slot_url 'http://{pod}' may name {slot}, "),
        ("recipes", {}, "recipes: at least one recipe is needed"),
        ("recipes/-x", {"quantizer": "none", "runtime": "ort", "options": {}}, "recipes: recipe name '-x': "),
        ("recipes/é", {"quantizer": "none", "runtime": "ort", "options": {}}, "recipes: recipe name 'é': "),
        ("recipes/fp32/options", {"bits": 8}, "recipes.fp32.options: bits: Extra inputs are not permitted"),
        ("machine/x\ny", 1, "machine.x y: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_what_a_later_consumer_would_refuse(place: str, value: Any, message: str | None) -> None:
    if message is None:  # the nearest value that is right
        _check(_changed(tuple(place.split("/")), value))
    else:
        assert message in _refusal(place, value)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_consumer_takes_a_seed_that_params_take(seed: int) -> None:
    assert _check(_changed(("seed",), seed)).seed == seed
    np.random.seed(seed)
    np.random.default_rng(seed)
    torch.manual_seed(seed)
    for worse in (-1, 2**32):
        with pytest.raises(ValueError, match="Seed must be between"):
            np.random.seed(worse)


@settings(deadline=None)
@given(st.text(st.sampled_from("a/:.@?#% -~é")) | st.text())
@example("..")
@example("...")
@example("team/assay")
@example(" ")
def test_a_name_that_params_take_is_one_that_mlflow_takes_and_finds_again(name: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.utils.models import _parse_model_uri
    from mlflow.utils.validation import _validate_model_name

    try:
        ModelParams(source="models/reference", name=name)
    except ValidationError:
        refused = not name.isprintable() or len(name) > 256 or set(name) & set("?#@")
        if not refused:
            with pytest.raises(MlflowException):
                _validate_model_name(name)
        return
    _validate_model_name(name)
    found = _parse_model_uri(f"models:/{name}@approved")
    assert (found.name, found.alias) == (name, "approved")


PLUGINS = [name for package in ("quantizers", "runtimes", "data.suites") for name in plugins.known(package)]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([-1, 0, 1, 2**31, 2**32, 2**63, 2**64, 10**400, -(10**400)]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["\0", "..", "a/b", "9" * 5000, "(" * 500, "-" * 290 + "1 <= 1", "requests < 1e999", *PLUGINS]),
    st.lists(st.integers() | st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5) | st.integers(), st.integers() | st.text(max_size=5), max_size=3),
    st.dates(),
)


@settings(deadline=None)
@given(st.sampled_from(list(_places(SHIPPED))), VALUES)
def test_a_changed_value_gives_params_or_one_line(place: Place, value: Any) -> None:
    try:
        _check(_changed(place, value))
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a success is as good


PARTS = sorted({place[:-1] for place in _places(SHIPPED) if isinstance(place[-1], str)})


@settings(deadline=None)
@given(st.sampled_from(PARTS), st.text(max_size=10), VALUES)
def test_an_added_key_gives_params_or_one_line(part: Place, name: str, value: Any) -> None:
    try:
        _check(_changed((*part, name), value))
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed: [", "is not valid YAML: "),
        (b"seed: \xff", "is not valid YAML: "),
        (b"seed: 2026-13-45", "is not valid YAML: month must be in 1..12"),
        (b"seed: " + b"[" * 5000, "is not valid YAML: "),
        (b"- 1", "holds no keys"),
        (b"1: 2", "recipes: Field required"),
        (PATH.read_bytes() + b"\n1: 2", "1: Keys should be strings"),
        (PATH.read_bytes() + b"\nmore: &a {more: *a}", "more: Extra inputs are not permitted"),
    ],
)
def test_a_file_that_is_no_params_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        params.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        params.load(tmp_path)
