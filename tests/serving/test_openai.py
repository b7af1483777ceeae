"""The official OpenAI client works unchanged, streaming and whole, on a real engine and on the echo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from models import manifest, tokenizer
from runtimes import ort
from tests.serving.running import Server

QUESTION = "What is 12 + 34?"


def ask(server: Server, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": QUESTION}]
    return server.client().chat.completions.create(model="assay", messages=messages, **more)


def joined(stream: Any) -> tuple[str, str, str, Any]:
    """Content, reasoning, finish reason and usage of a stream."""
    content, reasoning, finish, usage = "", "", "", None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            finish = choice.finish_reason or finish
    return content, reasoning, finish, usage


def test_whole_answers_are_the_runtimes_own_greedy_tokens(real: Server, real_version: Path) -> None:
    words = tokenizer.load(real_version)
    prompt = words.chat([{"role": "user", "content": QUESTION}])
    [wanted] = ort.load(real_version, 2).generate([prompt], 24)
    text = words.answer(prompt, wanted.token_ids, special=False)
    answer = real.client().completions.create(model="assay", prompt=prompt, max_tokens=24)
    assert answer.choices[0].text == text
    assert answer.usage
    assert answer.usage.completion_tokens == 24
    assert answer.choices[0].finish_reason == "length"


def test_a_stream_says_what_the_whole_answer_says(real: Server) -> None:
    whole = ask(real, max_tokens=24)
    stream = ask(real, max_tokens=24, stream=True, stream_options={"include_usage": True})
    content, reasoning, finish, usage = joined(stream)
    message = whole.choices[0].message
    assert (content, reasoning) == (message.content, getattr(message, "reasoning_content", ""))
    assert finish == whole.choices[0].finish_reason == "length"
    assert usage == whole.usage
    assert usage.completion_tokens == 24


def test_reasoning_is_apart_from_content(echoing: Server) -> None:
    answer = ask(echoing)
    assert answer.choices[0].message.content.strip() == QUESTION
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    content, reasoning, finish, _ = joined(ask(echoing, stream=True))
    assert (content, reasoning, finish) == (answer.choices[0].message.content, "", "stop")


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(echoing: Server) -> None:
    for stop in ("+ 3", ["nothing", " +"]):
        content, _, finish, _ = joined(ask(echoing, stream=True, stop=stop))
        assert (content.strip(), finish) == ("What is 12", "stop")
        assert ask(echoing, stop=stop).choices[0].message.content == content


def test_text_completions_stream(echoing: Server) -> None:
    stream = echoing.client().completions.create(model="assay", prompt="abc 123", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream if chunk.choices) == "abc 123"


def test_every_response_names_the_version(echoing: Server, echo_version: Path) -> None:
    digest = manifest.digest(echo_version)
    with httpx.Client(base_url=echoing.url) as client:
        responses = [
            client.get("/health/live"),
            client.get("/health/ready"),
            client.get("/metrics"),
            client.get("/v1/models"),
            client.get("/nowhere"),
            client.post("/predict", json={"text": "hello"}),
            client.post("/predict", content=b"{"),
            client.post(
                "/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}], "stream": True}
            ),
        ]
    assert [response.status_code for response in responses] == [200, 200, 200, 200, 404, 200, 400, 200]
    for response in responses:
        assert response.headers["x-assay-manifest"] == digest
        assert response.headers["x-assay-slot"] == "blue"
    assert [model.id for model in echoing.client().models.list()] == ["assay"]


def test_predict_answers_as_the_guide_says(echoing: Server) -> None:
    found = echoing.predict("sum 1 and 2").json()
    assert found["result"].strip() == "sum 1 and 2"
    assert found["finish_reason"] == "stop"
    assert found["output_length"] > 3
    assert echoing.predict("sum 1 and 2", max_tokens=2).json()["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"model": "gpt-4"}, "gpt-4"),
        ({"temperature": 0.7}, "temperature 0"),
        ({"max_tokens": 100_000}, "max_tokens"),
        ({"n": 2}, "n:"),
        ({"messages": []}, "messages"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"messages": [{"role": "user", "content": "12 + 34 " * 1000}]}, "limit"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(echoing: Server, changed: dict[str, Any], names: str) -> None:
    request = {"model": "assay", "messages": [{"role": "user", "content": "hi"}]} | changed
    with pytest.raises(openai.APIStatusError) as refused:
        echoing.client().chat.completions.create(**request)
    assert refused.value.status_code == (404 if "model" in changed else 400)
    assert names in refused.value.message


def test_a_stop_string_counts_only_the_tokens_up_to_it(echoing: Server) -> None:
    whole = echoing.client().completions.create(model="assay", prompt="1 2 3 4 5 6 7 8")
    cut = echoing.client().completions.create(model="assay", prompt="1 2 3 4 5 6 7 8", stop=" 5")
    assert cut.choices[0].text == "1 2 3 4"
    assert cut.usage
    assert whole.usage
    assert cut.usage.completion_tokens < whole.usage.completion_tokens


def test_token_ids_outside_the_vocabulary_are_refused(echoing: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="99999"):
        echoing.client().completions.create(model="assay", prompt=[11, 99999])


def test_a_temperature_samples_by_its_seed(real: Server) -> None:
    answers = [
        real.client().completions.create(
            model="assay", prompt="12 + 34", max_tokens=16, temperature=1.5, top_p=0.95, seed=seed
        )
        for seed in (1, 1, 2)
    ]
    first, same, other = (answer.choices[0].text for answer in answers)
    assert first == same != other


def test_no_extreme_of_sampling_ends_the_engine(real: Server) -> None:
    greedy = real.predict(QUESTION, max_tokens=8).json()
    for extreme in ({"temperature": 1e-320}, {"temperature": 1e-300}, {"temperature": 1, "top_p": 1e-320}):
        assert real.predict(QUESTION, max_tokens=8, **extreme).json() == greedy, extreme
    assert real.predict(QUESTION, temperature=1, seed=1 << 64).json()["error"]["param"] == "seed"
    assert httpx.get(f"{real.url}/health/live").status_code == 200
