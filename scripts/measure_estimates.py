"""Measure what an estimate of output from its text is worth, on recorded answers that were counted too.

`python scripts/measure_estimates.py CAPTURES.jsonl.gz`: by provider, the median of the estimate ÷ the count,
and between what nine of ten are. Left out are answers with thinking that is not shown and with tool calls,
whose form is counted and not seen, and those with less than twenty tokens: there a word is everything.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from costplus.gateway.call import CHARS_PER_TOKEN
from costplus.gateway.wire import READERS

LEAST_TOKENS = 20
CALLS = (
    *("tool_call", "tool_use", "tool_result", "functionCall", "function_call"),
    *("thinking", "reasoning_content"),
)
WIRES = {
    "chat/completions": "openai_chat",
    "responses": "openai_responses",
    "v1/messages": "anthropic_messages",
    "generateContent": "gemini_generate",
    "streamGenerateContent": "gemini_generate",
}


def ratios(rows: Iterable[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the estimate ÷ the count of every answer that can be compared, by provider."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        wire = next((w for end, w in WIRES.items() if row["path"].partition("?")[0].endswith(end)), None)
        if wire is None or row["status"] != 200:
            continue
        answer = row["response"]
        is_stream = isinstance(answer, str)
        reader = READERS[wire].stream() if is_stream else READERS[wire].json()
        reader.feed((answer if is_stream else json.dumps(answer)).encode())
        reading = reader.finish()
        usage = reading.usage
        if usage is None or usage.quantities.get("reasoning") or usage.output_tokens < LEAST_TOKENS:
            continue
        if any(word in json.dumps(answer) for word in CALLS):
            continue
        if usage.output_tokens != usage.quantities.get("output"):
            continue  # Sound or pictures.
        found[row["provider"]].append(reading.output_chars / CHARS_PER_TOKEN / usage.output_tokens)
    return found


def line(name: str, values: list[float]) -> str:
    """Return one line of the table."""
    ranked = sorted(values)
    low, high = ranked[len(ranked) * 5 // 100], ranked[-1 - len(ranked) * 5 // 100]
    return f"| {name} | {len(ranked)} | {statistics.median(ranked):.2f} | {low:.2f} to {high:.2f} |"


def main(path: str) -> None:
    with gzip.open(Path(path), "rt", encoding="utf-8") as lines:
        found = ratios(map(json.loads, lines))
    table = ["| provider | answers | median | nine of ten |", "|---|---:|---:|---:|"]
    for name, values in sorted(found.items()):
        if len(values) >= 10:
            table.append(line(name, values))
    table.append(line("all", [value for values in found.values() for value in values]))
    sys.stdout.write("\n".join([*table, ""]))


if __name__ == "__main__":
    main(sys.argv[1])
