"""Audio and images through OpenAI's SDK and its own API: what tells its usage and what does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

pytestmark = pytest.mark.e2e

KEY = "sk_test_media"
AUDIO = bytes(range(256)) * 200
TEXT = "Good morning to everybody who is awake."
USAGE = {
    "type": "tokens",
    "input_tokens": 44,
    "input_token_details": {"audio_tokens": 40, "text_tokens": 4},
    "output_tokens": 9,
    "total_tokens": 53,
}
PICTURE = {
    "created": 1,
    "data": [{"b64_json": "aGk="}],
    "usage": {
        "input_tokens": 12,
        "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
        "output_tokens": 272,
        "total_tokens": 284,
    },
}


COUNTED = {"messages": [{"role": "user", "content": "Hello"}], "model": "claude-sonnet-4-5"}


def row(id: str, path: str, response: Any, content_type: str = "application/json") -> dict[str, Any]:
    return {
        "id": id,
        "provider": "openai",
        "path": f"/v1{path}",
        "model": None,
        "stream": False,
        "request": {"of": id},
        "status": 200,
        "content_type": content_type,
        "response": response,
    }


ROWS = [
    row("told", "/audio/transcriptions", {"text": TEXT, "usage": USAGE}),
    row("text", "/audio/transcriptions", TEXT, "text/plain"),
    row("speech", "/audio/speech", "ID3 not really audio", "audio/mpeg"),
    row("picture", "/images/generations", PICTURE),
    row("page", "/audio/speech", "<html>Bad gateway</html>", "text/html"),
    {**row("count", "/messages/count_tokens", {"input_tokens": 11}), "request": COUNTED},
]


@pytest.fixture(scope="module")
def gateway(calls: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Run a gateway in front of a provider that answers with the rows."""
    folder = tmp_path_factory.mktemp("media")
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in ROWS), "utf-8")
    calls.seed(folder / "data", {"cus_media": 10**10}, keys={KEY: "cus_media"})
    arguments = ("dev-provider", "--port", "0", "--captures", str(file))
    with (
        calls.started(*arguments, folder=folder / "provider") as provider,
        calls.gateway_on(folder / "data", calls.environment(provider.url)) as served,
    ):
        yield served


@pytest.fixture
def client(gateway: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/providers/openai/v1", api_key=KEY, max_retries=0) as made:
        yield made


def asking(id: str) -> dict[str, str]:
    return {"x-capture-id": id}


def booked(gateway: Any, answer: Any) -> Any:
    return gateway.books.wait_for(answer.headers["costplus-request-id"])


def test_a_transcription_is_charged_what_it_says(gateway: Any, calls: Any, client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(
        file=("speech.mp3", AUDIO), model="gpt-4o-transcribe", extra_headers=asking("told")
    )
    assert answer.parse().text == TEXT
    call = booked(gateway, answer)
    assert call.quantities == {"input": 4, "input_audio": 40, "output": 9}
    assert call.price_nano == calls.price_nano("openai/gpt-4o-transcribe", call.quantities)


def test_a_bare_text_is_counted_and_flagged(gateway: Any, client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(
        file=("speech.mp3", AUDIO),
        model="gpt-4o-transcribe",
        response_format="text",
        extra_headers=asking("text"),
    )
    assert answer.text == TEXT
    call = booked(gateway, answer)
    assert call.flags == ["estimated"]
    assert call.quantities["output"] == -(-len(TEXT) // 4)
    assert call.quantities["input"] >= len(AUDIO) // 100


def test_speech_is_estimated_by_what_was_to_be_said(gateway: Any, client: openai.OpenAI) -> None:
    answer = client.audio.speech.with_raw_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input=TEXT, extra_headers=asking("speech")
    )
    assert answer.content == b"ID3 not really audio"
    call = booked(gateway, answer)
    assert call.flags == ["estimated"]
    assert call.quantities["output_audio"] == -(-len(TEXT) * 4 // 3)
    assert call.price_nano > 0


def test_a_picture_is_charged_by_its_own_tokens(gateway: Any, calls: Any, client: openai.OpenAI) -> None:
    answer = client.images.with_raw_response.generate(
        model="gpt-image-1", prompt="A dog", extra_headers=asking("picture")
    )
    call = booked(gateway, answer)
    assert call.quantities == {"input": 12, "output_image": 272}
    assert call.price_nano == calls.price_nano("openai/gpt-image-1", call.quantities)


def test_a_page_is_no_audio(gateway: Any, client: openai.OpenAI) -> None:
    before = gateway.books.credit_nano("cus_media")
    with pytest.raises(openai.APIStatusError) as raised:
        client.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input=TEXT, extra_headers=asking("page")
        )
    assert (raised.value.status_code, raised.value.code) == (502, "provider_answer_invalid")
    assert gateway.books.credit_nano("cus_media") == before


@pytest.mark.parametrize("path", ["", "/providers/anthropic"])
def test_counting_tokens_is_free(gateway: Any, path: str) -> None:
    before = gateway.books.credit_nano("cus_media")
    with anthropic.Anthropic(base_url=gateway.url + path, api_key=KEY, max_retries=0) as client:
        assert client.messages.count_tokens(**COUNTED).input_tokens == 11  # type: ignore[arg-type]  # As recorded.
    assert gateway.books.credit_nano("cus_media") == before
    assert gateway.books.open_intents("cus_media") == []


def test_a_form_that_is_none_is_refused(gateway: Any) -> None:
    answer = gateway.http.post(
        "/providers/openai/v1/audio/transcriptions",
        content=b"no form",
        headers={"authorization": f"Bearer {KEY}", "content-type": "multipart/form-data"},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "form_invalid")
