"""Tokens at the server's door and on their way out: a bad prompt ends alone, and text comes as it was decoded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.errors import RuntimeFault
from data import items
from data.records import Item
from models import manifest, tokenizer, tokenizer_identity
from models.params import Recipe
from runtimes import echo, ort
from runtimes.onnxruntime_genai.continuous_batching import ContinuousBatching
from serving import app, server_settings, service
from serving.tokenization import Decoder
from tests import tiny
from tests.models.test_tokenizer import FAMILY, saved_otherwise, with_a_token_too_many
from tests.serving.running import Server

QUESTION = "What is 12 + 34?"
TOKENS = 12


def loaded(folder: Path) -> service.Service:
    return service.load(server_settings.make({"folder": folder, "slot": "green", "port": 0}, {}))


@pytest.fixture
async def real_service(real_version: Path) -> AsyncIterator[service.Service]:
    made = loaded(real_version)
    made.scheduler.start()
    yield made
    made.scheduler.stop()


def client(made: service.Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.create(made)), base_url="http://test", timeout=30)


async def complete(http: httpx.AsyncClient, prompt: list[int] | str) -> httpx.Response:
    return await http.post("/v1/completions", json={"prompt": prompt, "max_tokens": TOKENS})


@pytest.mark.parametrize("past_the_door", [False, True], ids=["at the door", "at the engine"])
async def test_a_bad_id_among_good_requests_ends_its_own_request_alone(
    past_the_door: bool, real_service: service.Service, real_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the real CPU engine. Past the door: as if the check of the ids in the server were forgotten."""
    assert isinstance(real_service.scheduler.engine, ContinuousBatching)
    words, runtime = tokenizer.load(real_version), ort.load(real_version, 2)
    good = [words.encode(f"{number} + 34 is") for number in range(4)]
    wanted = [words.answer(ids, runtime.generate([ids], TOKENS)[0].token_ids, special=False) for ids in good]
    if past_the_door:
        monkeypatch.setattr(tokenizer.Tokenizer, "checked", lambda self, ids: ids)
    async with client(real_service) as http:
        for wrong in (words.rows, 2**31):
            mixed = [*good[:2], [5, wrong], *good[2:]]
            found = await asyncio.wait_for(asyncio.gather(*(complete(http, prompt) for prompt in mixed)), 30)
            bad = found.pop(2)
            assert bad.status_code == (500 if past_the_door else 400)
            assert f"token id {wrong} is outside the" in bad.json()["error"]["message"]
            assert [answer.json()["choices"][0]["text"] for answer in found] == wanted
            assert (await http.get("/health/live")).status_code == 200


async def test_a_text_with_a_token_that_the_model_has_no_row_for_is_the_clients_error(
    tiny_qwen2: Path, tmp_path: Path
) -> None:
    """Case 8: the converter's tokenizer had `<|endoftext|>` as one more token than the embedding has rows."""
    echo.write(tmp_path / "version", with_a_token_too_many(tiny_qwen2, tmp_path / "model"))
    made = loaded(tmp_path / "version")
    made.scheduler.start()
    async with client(made) as http:
        for path, body in (
            ("/predict", {"text": "hi <|endoftext|>"}),
            ("/v1/completions", {"prompt": "hi <|endoftext|>"}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "<|endoftext|>"}]}),
        ):
            refused = await http.post(path, json=body)
            assert refused.status_code == 400, path
            assert "('<|endoftext|>') is outside the model's" in refused.json()["error"]["message"]
        assert (await http.post("/predict", json={"text": "hi"})).status_code == 200
    made.scheduler.stop()


async def test_what_prepare_measures_is_what_is_served(tiny_qwen2: Path, tmp_path: Path) -> None:
    """Case 7: a tokenizer.json saved with truncation 16 and padding 32."""
    model = saved_otherwise(tiny_qwen2, tmp_path / "model")
    echo.write(tmp_path / "version", model)
    made = loaded(tmp_path / "version")
    made.scheduler.start()
    async with client(made) as http:
        for question in ("hi", QUESTION, 20 * QUESTION):
            asked = Item(id="i", suite="s", task="t", question=question, answer="46")
            [row] = items.tokenize([asked], tokenizer.load(model))
            answer = (await http.post("/predict", json={"text": question, "max_tokens": 400})).json()
            assert answer["input_length"] == len(row.prompt_ids)
            assert answer["result"].strip() == question
    made.scheduler.stop()


async def test_a_lone_surrogate_is_the_clients_error(real_service: service.Service) -> None:
    async with client(real_service) as http:
        body = b'{"text": "hi \\ud83d"}'
        refused = await http.post("/predict", content=body, headers={"content-type": "application/json"})
        assert refused.status_code == 400
        assert (await http.post("/predict", json={"text": "hi", "max_tokens": 2})).status_code == 200


def test_a_version_whose_ids_differ_here_is_not_served(tiny_qwen2: Path, tmp_path: Path) -> None:
    echo.write(tmp_path, tiny_qwen2)
    tokenizer_identity.hold(tiny_qwen2, tmp_path, [])
    table = json.loads((tmp_path / tokenizer_identity.KEPT).read_text())
    table[4]["ids"][0] += 1
    (tmp_path / tokenizer_identity.KEPT).write_text(json.dumps(table))
    recipe = Recipe(quantizer="none", runtime="echo")
    manifest.write(tmp_path, variant="echo", recipe=recipe, model_folder=tiny_qwen2, facts={}, libraries=())
    with pytest.raises(RuntimeFault, match=r"this project's tokenizer makes \d+ ids of '123456"):
        loaded(tmp_path)


# ── what comes out ────────────────────────────────────────────────────────────────────────────────────────────────
def pieces(words: tokenizer.Tokenizer, prompt: list[int], answer: list[int], **how: Any) -> tuple[list[str], str]:
    """The pieces of content, and the reasoning, of an answer fed token by token."""
    decoder = Decoder(words, prompt, how.get("split", True), how.get("stop", ()))
    found = [decoder.feed([token]) for token in answer] + [decoder.finish()]
    return [piece.content for piece in found if piece.content], "".join(piece.reasoning for piece in found)


def test_the_first_word_keeps_its_blank(tmp_path: Path) -> None:
    """Case 13: a decoder like Llama 2's drops the blank before the first word of what it decodes."""
    words = tokenizer.load(tiny.make(tmp_path, "llama", words=tiny.llama2_tokenizer()))
    prompt, answer = words.encode("The capital of France"), words.encode("is Paris")
    content, _ = pieces(words, prompt, answer, split=False)
    assert "".join(content) == " is Paris"
    assert len(content) > 1


def test_the_first_word_after_a_thought_keeps_its_blank(tmp_path: Path) -> None:
    fast = tiny.llama2_tokenizer()
    fast.add_tokens(["<think>", "</think>"])
    words = tokenizer.load(tiny.make(tmp_path, "llama", words=fast))
    prompt = [*words.encode("Where is it?"), words.vocabulary["<think>"]]
    thought, said = words.encode("France"), words.encode("Paris 😀")
    content, reasoning = pieces(words, prompt, [*thought, words.vocabulary["</think>"], *said])
    assert ("".join(content), reasoning) == (" Paris 😀", " France")


def test_an_emoji_comes_whole(tiny_qwen2: Path) -> None:
    words = tokenizer.load(tiny_qwen2)
    text = f"a {FAMILY} é 👍🏽"
    prompt = words.chat([{"role": "user", "content": QUESTION}])
    content, reasoning = pieces(words, prompt, [words.vocabulary["</think>"], *words.encode(text)])
    assert "".join(content) == text
    assert reasoning == ""
    assert not any(tokenizer.BROKEN in piece for piece in content)


def test_a_stop_string_may_end_within_what_waited_for_a_character(tiny_qwen2: Path) -> None:
    words = tokenizer.load(tiny_qwen2)
    cut = words.encode("ab 😀")[:-1]
    content, _ = pieces(words, [5], cut, split=False)
    assert "".join(content) == f"ab {tokenizer.BROKEN}"
    content, _ = pieces(words, [5], cut, split=False, stop=(tokenizer.BROKEN,))
    assert "".join(content) == "ab "


def test_what_the_server_says_is_prompt_and_answer_decoded_at_once(real: Server, real_version: Path) -> None:
    words = tokenizer.load(real_version)
    prompt = words.chat([{"role": "user", "content": QUESTION}])
    [made] = ort.load(real_version, 2).generate([prompt], 40)
    at_once = words.decode([*prompt, *made.token_ids], special=False)
    asked: dict[str, Any] = {"model": "assay", "prompt": prompt, "max_tokens": 40}
    whole = real.client().completions.create(**asked).choices[0].text
    chunks = real.client().completions.create(**asked, stream=True)
    streamed = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert words.decode(prompt, special=False) + whole == at_once
    assert whole == streamed == words.answer(prompt, made.token_ids, special=False)
