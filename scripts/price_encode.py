"""Write the price snapshot: compact JSON, one model a line so that a refresh can be reviewed."""

from __future__ import annotations

from typing import Any

import msgspec

from costplus.catalog.snapshot import Snapshot


def compact(value: Any) -> Any:
    """Drop None and empty lists of fields: the snapshot's defaults say the same."""
    if isinstance(value, dict):
        kept = {key: compact(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, [], "")}
    if isinstance(value, list | tuple):
        return [compact(item) for item in value]
    return value


def encode(snapshot: Snapshot) -> bytes:
    """Return the snapshot as JSON, one model a line so that a refresh can be reviewed."""
    whole = compact(msgspec.to_builtins(snapshot))
    providers = whole.pop("providers")
    head = msgspec.json.encode(whole)[:-1]
    blocks = []
    for provider, entry in providers.items():
        models = entry["models"].items()
        lines = b",\n".join(
            msgspec.json.encode(name) + b":" + msgspec.json.encode(model) for name, model in models
        )
        unpriced = msgspec.json.encode(entry["unpriced"])
        blocks.append(
            msgspec.json.encode(provider) + b':{"models":{\n' + lines + b'\n},"unpriced":' + unpriced + b"}"
        )
    return head + b',"providers":{\n' + b",\n".join(blocks) + b"\n}}\n"
