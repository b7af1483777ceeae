from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import ConfigError, SourceError
from evaluation.decoding import Sampled, decoding_of
from evaluation.params import GenerationParams
from runtimes import Sampling

R1 = {"do_sample": True, "temperature": 0.6, "top_p": 0.95, "bos_token_id": 151646, "eos_token_id": 151643}


def resolved(folder: Path, config: Any, **params: Any) -> Sampled | None:
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "generation_config.json").write_text(text)
    return decoding_of(GenerationParams(max_tokens=9, **params), folder)


def test_the_shipped_model_is_greedy() -> None:
    assert decoding_of(GenerationParams(max_tokens=9), Path(__file__).parents[2] / "models/reference") is None


@pytest.mark.parametrize(
    ("config", "params", "wanted"),
    [
        (None, {}, None),
        ({"eos_token_id": 2, "temperature": 0.6}, {}, None),
        ({"do_sample": False, "temperature": 0}, {}, None),  # not read any further
        (R1, {"decoding": "greedy"}, None),
        ("no JSON", {"decoding": "greedy"}, None),
        (R1, {}, Sampled(0.6, 0.95, 0, 4)),
        (R1, {"temperature": 1.0, "top_k": 40, "samples": 8}, Sampled(1.0, 0.95, 40, 8)),
        (R1, {"top_p": 1}, Sampled(0.6, 1.0, 0, 4)),
        ({"do_sample": True, "temperature": None, "top_k": 20}, {}, Sampled(1.0, 1.0, 20, 4)),
        ({"do_sample": True, "top_k": 20}, {"top_k": 0}, Sampled(1.0, 1.0, 0, 4)),  # off
        ({"temperature": 0.6}, {"decoding": "sampled"}, Sampled(0.6, 1.0, 0, 4)),
        (None, {"decoding": "sampled", "samples": 1}, Sampled(1.0, 1.0, 0, 1)),
    ],
)
def test_params_come_before_the_model_and_the_model_before_the_defaults(
    tmp_path: Path, config: Any, params: dict[str, Any], wanted: Sampled | None
) -> None:
    assert resolved(tmp_path, config, **params) == wanted


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k", "samples"])
def test_a_setting_without_effect_is_refused(tmp_path: Path, name: str) -> None:
    for config, params, why in (
        ({"do_sample": False}, {}, "generation_config.json does not have do_sample"),
        (R1, {"decoding": "greedy"}, r"greedy \(generation.decoding\)"),
    ):
        with pytest.raises(ConfigError, match=rf"{why}.*generation\.{name} has no effect.*decoding: sampled"):
            resolved(tmp_path, config, **params, **{name: 1})


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "is not valid JSON"),
        ("[]", "does not hold a JSON object"),
        ({"do_sample": True, "temperature": 0}, "temperature: Input should be greater than 0.*decoding: greedy"),
        ({"do_sample": True, "temperature": "hot"}, "temperature: Input should be a valid number"),
        ('{"do_sample": true, "temperature": NaN}', "temperature: Input should be"),
        ({"do_sample": True, "top_p": 1.5}, "top_p: Input should be less than or equal to 1"),
        ({"do_sample": True, "top_k": 2.5}, "top_k: Input should be a valid integer"),
        ({"do_sample": "yes"}, "do_sample: Input should be a valid boolean"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, config: Any, why: str) -> None:
    with pytest.raises(SourceError, match=rf"generation_config\.json.*{why}"):
        resolved(tmp_path, config)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0}, {"temperature": float("inf")}, {"top_p": 0}, {"top_k": -1}, {"samples": 0}]
)
def test_params_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GenerationParams.model_validate({"max_tokens": 9, "decoding": "sampled", **wrong})


def test_what_the_file_asks_for_and_nothing_applies_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resolved(tmp_path, R1 | {"repetition_penalty": 1.0, "min_p": None}) is not None
    assert not capsys.readouterr().err
    resolved(tmp_path, R1 | {"repetition_penalty": 1.1, "min_p": 0.05})
    assert "repetition_penalty 1.1, min_p 0.05: not applied, to neither side" in capsys.readouterr().err


def test_a_runtime_gets_the_settings_with_a_seed() -> None:
    assert Sampled(0.6, 0.95, 20, 4).with_seed(7) == Sampling(temperature=0.6, top_p=0.95, seed=7, top_k=20)
