"""Request bodies: what is understood, what is refused, and what a rewrite leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.errors import InvalidRequest
from costplus.gateway.wire.request import parse_request, rewrite, with_include_usage, with_model

REFUSED = [
    (b"", "body_not_json"),
    (b"{", "body_not_json"),
    (b'{"model":"m",}', "body_not_json"),
    (b'{"model":"m"}x', "body_not_json"),
    (b'{"model":"\xff"}', "body_not_json"),
    (b'{"model":"m","x":' + b"[" * 50_000, "body_not_json"),
    (b"[]", "body_not_object"),
    (b"null", "body_not_object"),
    (b"{}", "model_missing"),
    (b'{"model":null}', "model_missing"),
    (b'{"model":""}', "model_missing"),
    (b'{"model":7}', "model_invalid"),
    (b'{"model":["m"]}', "model_invalid"),
    (b'{"model":"m","stream":"true"}', "stream_invalid"),
    (b'{"model":"m","stream":1}', "stream_invalid"),
    (b'{"model":"m","max_tokens":-1}', "max_tokens_invalid"),
    (b'{"model":"m","max_tokens":1.5}', "max_tokens_invalid"),
    (b'{"model":"m","max_tokens":true}', "max_tokens_invalid"),
    (b'{"model":"m","max_output_tokens":"9"}', "max_tokens_invalid"),
    (b'{"model":"m","max_completion_tokens":1e30}', "max_tokens_invalid"),
    (b'{"model":"m","n":0}', "choices_invalid"),
]


@pytest.mark.parametrize(("body", "code"), REFUSED)
def test_a_body_that_cannot_be_metered_is_refused_with_its_code(body: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request(body)
    assert caught.value.code == code


UNDERSTOOD: list[tuple[dict[str, Any], bool, int | None, int]] = [
    ({}, False, None, 1),
    ({"stream": None, "max_tokens": None, "n": None}, False, None, 1),
    ({"stream": True, "max_tokens": 0}, True, 0, 1),
    ({"max_completion_tokens": 7}, False, 7, 1),
    ({"max_output_tokens": 9.0}, False, 9, 1),
    ({"max_tokens": 5, "max_completion_tokens": 8}, False, 8, 1),
    ({"n": 3}, False, None, 3),
    ({"n": 1, "best_of": 4}, False, None, 4),
]


@pytest.mark.parametrize(("fields", "stream", "max_tokens", "choices_max"), UNDERSTOOD)
def test_a_body_says_what_it_may_cost(
    fields: dict[str, Any], stream: bool, max_tokens: int | None, choices_max: int
) -> None:
    request = parse_request(json.dumps({"model": "openai/m", **fields}).encode())
    assert request.model == "openai/m"
    assert (request.stream, request.max_tokens, request.choices_max) == (stream, max_tokens, choices_max)


INJECTED = [
    (b'{"model":"m","stream":true}', {"include_usage": True}),
    (b'{"model":"m","stream":true,"stream_options":null}', {"include_usage": True}),
    (b'{"model":"m","stream":true,"stream_options":{}}', {"include_usage": True}),
    (b'{"model":"m","stream":true,"stream_options":{"include_usage":false}}', {"include_usage": True}),
    (b'{"model":"m","stream":true,"stream_options":{"include_usage":null}}', {"include_usage": True}),
    (
        b'{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}',
        {"include_obfuscation": False, "include_usage": True},
    ),
]


@pytest.mark.parametrize(("body", "options"), INJECTED)
def test_usage_is_asked_for_where_the_caller_did_not(body: bytes, options: dict[str, bool]) -> None:
    rewritten, injected = with_include_usage(body)
    assert injected
    assert json.loads(rewritten) == {"model": "m", "stream": True, "stream_options": options}


UNTOUCHED = [
    b'{"model":"m"}',
    b'{"model": "m", "stream": false}',
    b'{"model":"m","stream":true,"stream_options":{ "include_usage" : true }}',
]


@pytest.mark.parametrize("body", UNTOUCHED)
def test_a_body_that_needs_no_usage_request_stays_as_it_is(body: bytes) -> None:
    assert with_include_usage(body) == (body, False)


@pytest.mark.parametrize("options", [b"7", b"[]", b'"x"', b'{"include_usage":1}', b'{"include_usage":"yes"}'])
def test_stream_options_of_another_shape_are_refused(options: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        with_include_usage(b'{"model":"m","stream":true,"stream_options":' + options + b"}")
    assert caught.value.code == "stream_options_invalid"


def test_a_rewrite_keeps_the_bytes_of_every_other_value() -> None:
    kept = (
        b'"seed":123456789012345678901234567890,"t":0.10000000000000000000001,"u":"\\u00e9 \xc3\xa9","e":1E2'
    )
    body = b'{"model":"openai/m",' + kept + b',"messages":[ { "a" : 1.0 } ]}'
    assert with_model(body, "m") == b'{"model":"m",' + kept + b',"messages":[ { "a" : 1.0 } ]}'


def test_a_rewrite_holds_each_key_once_as_it_was_understood() -> None:
    request = parse_request(b'{"model":"cheap","stream":true,"model":"dear","stream":false}')
    assert (request.model, request.stream) == ("dear", False)
    assert json.loads(rewrite(request)[0]) == {"model": "dear", "stream": False}
    assert rewrite(request)[0].count(b"model") == 1


def test_one_rewrite_sets_model_and_usage_together() -> None:
    request = parse_request(b'{"model":"openai/m","stream":true,"x":1}')
    rewritten, injected = rewrite(request, model='m"1', include_usage=True)
    assert injected
    assert json.loads(rewritten) == {
        "model": 'm"1',
        "stream": True,
        "x": 1,
        "stream_options": {"include_usage": True},
    }
    assert request.fields.keys() == {"model", "stream", "x"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
OURS = {
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "n",
    "best_of",
}


@pytest.mark.slow
@given(
    others=st.dictionaries(st.text().filter(lambda key: key not in OURS), VALUES), ascii_only=st.booleans()
)
def test_every_other_field_means_the_same_after_a_rewrite(others: dict[str, Any], ascii_only: bool) -> None:
    body = json.dumps({**others, "model": "a/b", "stream": True}, ensure_ascii=ascii_only)
    rewritten, injected = rewrite(parse_request(body.encode()), model="b", include_usage=True)
    assert injected
    expected = {**others, "model": "b", "stream": True, "stream_options": {"include_usage": True}}
    assert json.loads(rewritten) == expected
