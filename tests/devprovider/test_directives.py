"""Directives and counts: what a message may ask for, and the tokens that an answer then reports."""

from __future__ import annotations

import pytest

from costplus.devprovider.ask import Ask, Counts, Part, count, pieces, text_in
from costplus.devprovider.directives import NONE, Directives, parse
from costplus.devprovider.replies_anthropic import MESSAGES
from costplus.devprovider.replies_gemini import GENERATE
from costplus.devprovider.replies_openai import CHAT, EMBEDDINGS

ANY_WRITES = frozenset(("cache_write_5m", "cache_write_1h"))


def ask_of(chars: int = 0, messages: int = 1, tokens_max: int | None = None) -> Ask:
    return Ask(model="m", chars=chars, messages=messages, last_user="", tokens_max=tokens_max)


@pytest.mark.parametrize(
    ("text", "directives"),
    [
        ("[[tokens=0]]", Directives(tokens=0)),
        ("hello [[tokens=150]] [[cached=100]]", Directives(tokens=150, cached=100)),
        ("[[tokens=1]][[tokens=2]]", Directives(tokens=2)),
        ("[[garbage]] [[hang]]", Directives(garbage=True, hang=True)),
        ("[[error=429]]", Directives(error=429)),
        ("[[error]]", Directives(error=500)),
        ("[[error=399]]", Directives(error=500)),
        ("[[error=599]]", Directives(error=599)),
        ("[[error=600]]", Directives(error=500)),
    ],
)
def test_a_directive_is_read_from_anywhere_in_the_text(text: str, directives: Directives) -> None:
    assert parse(text) == directives


@pytest.mark.parametrize(
    "text",
    ["", "[[Wiki Link]]", "[[unknown=3]]", "[[tokens]]", "[[garbage=1]]", "[tokens=1]"],
)
def test_what_is_no_directive_is_text(text: str) -> None:
    assert parse(text) is NONE


@pytest.mark.parametrize(
    ("chars", "messages", "prompt"), [(0, 1, 3), (1, 1, 4), (4, 1, 4), (5, 1, 5), (8, 2, 8)]
)
def test_the_prompt_counts_a_token_per_four_characters_and_three_per_message(
    chars: int, messages: int, prompt: int
) -> None:
    assert count(ask_of(chars, messages), NONE, writes=ANY_WRITES).prompt == prompt


@pytest.mark.parametrize(
    ("directives", "parts"),
    [
        (Directives(input=1000, cached=100, cache_write=50, cache_write_1h=7), (843, 100, 50, 7)),
        (Directives(input=100, cached=100, cache_write=50), (0, 100, 0, 0)),
        (Directives(input=100, cached=101), (0, 100, 0, 0)),
        (Directives(input=100, cached=99, cache_write=50), (0, 99, 1, 0)),
        (Directives(input=0, cached=5), (0, 0, 0, 0)),
    ],
)
def test_cached_and_written_tokens_are_disjoint_parts_of_the_prompt(
    directives: Directives, parts: tuple[int, int, int, int]
) -> None:
    counts = count(ask_of(), directives, writes=ANY_WRITES)
    assert (counts.input, counts.cached, counts.cache_write_5m, counts.cache_write_1h) == parts
    assert counts.prompt == directives.input


def test_a_wire_without_cache_writes_reports_them_as_plain_input() -> None:
    directives = Directives(input=100, cache_write=50)
    assert count(ask_of(), directives, writes=GENERATE.writes) == Counts(100, 0, 0, 0, 20, 0, False)


@pytest.mark.parametrize(
    ("directives", "tokens_max", "expected"),
    [
        (NONE, None, (20, 0, False)),
        (NONE, 20, (20, 0, False)),
        (NONE, 19, (19, 0, True)),
        (Directives(tokens=150), None, (150, 0, False)),
        (Directives(tokens=150), 149, (149, 0, True)),
        (Directives(tokens=150, reasoning=30), 180, (150, 30, False)),
        (Directives(tokens=150, reasoning=30), 179, (149, 30, True)),
        (Directives(tokens=150, reasoning=30), 29, (0, 29, True)),
    ],
)
def test_only_the_maximum_caps_the_output_reasoning_first(
    directives: Directives, tokens_max: int | None, expected: tuple[int, int, bool]
) -> None:
    counts = count(ask_of(tokens_max=tokens_max), directives, writes=ANY_WRITES)
    assert (counts.output, counts.reasoning, counts.cut_short) == expected


@pytest.mark.parametrize("tokens", [0, 1, 17])
def test_a_reply_has_one_piece_per_token(tokens: int) -> None:
    assert len(pieces(tokens)) == tokens
    assert len("".join(pieces(tokens)).split()) == tokens


def test_text_is_gathered_from_strings_and_parts_and_directives_from_the_last_user_message() -> None:
    messages = [("user", "one"), ("user", [Part("t"), Part(None), Part("wo")]), ("assistant", "three")]
    assert text_in(messages) == (11, "two")


def test_each_dialect_reads_the_same_conversation_alike() -> None:
    said = "How deep is the lake?"
    chat = CHAT.read(b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % said.encode(), "", "")
    messages = MESSAGES.read(
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"%b"}]}]}'
        % said.encode(),
        "",
        "",
    )
    generate = GENERATE.read(
        b'{"contents":[{"parts":[{"text":"%b"}]}]}' % said.encode(),
        "/v1beta/models/m:streamGenerateContent",
        "key=k&alt=sse",
    )
    assert {(a.model, a.chars, a.messages, a.last_user) for a in (chat, messages, generate)} == {
        ("m", len(said), 1, said)
    }
    assert (generate.stream, generate.sse) == (True, True)


@pytest.mark.parametrize(
    ("given", "prompt", "inputs"),
    [(b'"abcde"', 2, 1), (b'["abcd","e"]', 2, 2), (b"[1,2,3]", 3, 1), (b"[[1,2],[3]]", 3, 2)],
)
def test_embeddings_count_texts_and_token_lists(given: bytes, prompt: int, inputs: int) -> None:
    ask = EMBEDDINGS.read(b'{"model":"m","input":%b}' % given, "", "")
    counts = count(ask, NONE, writes=EMBEDDINGS.writes)
    assert (counts.prompt, counts.completion, ask.inputs) == (prompt, 0, inputs)
