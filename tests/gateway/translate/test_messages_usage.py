"""Usage in Anthropic's words: what its own reader makes of it is what was used."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from costplus.core.usage import LEAVES, Usage, usage_of
from costplus.gateway.translate.messages_usage import usage_block
from costplus.gateway.wire.anthropic import exclusive_usage

ANTHROPICS = (
    "input",
    "cached_input",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "web_search",
)


def quantities(leaves: tuple[str, ...]) -> st.SearchStrategy[Usage]:
    return st.dictionaries(st.sampled_from(leaves), st.integers(0, 10**9)).map(usage_of)


@given(quantities(ANTHROPICS))
def test_anthropics_own_counts_are_written_as_they_were_read(usage: Usage) -> None:
    assert exclusive_usage(msgspec.json.decode(msgspec.json.encode(usage_block(usage)))) == usage


@given(quantities(tuple(LEAVES)))
def test_every_token_of_any_provider_is_counted_once(usage: Usage) -> None:
    block = usage_block(usage)
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert sum(block[count] for count in counts) == usage.input_tokens
    assert block["output_tokens"] == usage.output_tokens


def test_a_cache_of_twelve_hours_is_one_of_an_hour() -> None:
    split = usage_block(Usage({"cache_write_12h": 5, "cache_write_5m": 2}))["cache_creation"]
    assert split == {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 5}


def test_unknown_usage_is_told_from_none_by_the_caches_silence() -> None:
    assert usage_block(None) == {"input_tokens": 0, "output_tokens": 0}
    assert usage_block(Usage({}))["cache_read_input_tokens"] == 0
