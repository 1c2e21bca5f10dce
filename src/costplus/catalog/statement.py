"""Statements: what each source says about each model, under the catalogue's own names.

Rule 1: a statement is of one source at one revision; nothing is merged here.
Rule 2: `current` is the price in force when the source was read; later ones are `scheduled`, never applied.
Rule 3: revisions are ordered by when they were published or fetched, never by version numbers.
Source: spec "prices", §5 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType

from costplus.catalog.feeds.stated import StatedPrice

SourceName = NewType("SourceName", str)  # genai-prices, litellm, models.dev, openrouter, vercel, bundled

ModelKey = tuple[str, str]  # Provider and model as the catalogue names them.


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one source says one model costs, and what it announces."""

    current: StatedPrice  # `valid_from` is the source's date, `ALWAYS` where it has none.
    scheduled: tuple[StatedPrice, ...] = ()  # Later prices, earliest first.
    deprecated_at: datetime | None = (
        None  # When the model goes or went out of service; `ALWAYS`: it is not said.
    )
    redirect_to: str = ""  # The model that answers under this name instead.
    names: tuple[str, ...] = ()  # The source's own names for the model, where they differ.


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """Everything that one revision of one source says."""

    source: SourceName
    revision: str  # `etag:…`, `git:…`, `pypi:…`, `sha256:…`: whatever the source has of the best kind.
    as_of: datetime  # When it was published, else fetched.
    statements: Mapping[ModelKey, Statement] = field(default_factory=dict)
    unmapped: Mapping[str, int] = field(default_factory=dict)  # Price keys not understood → how often.
    left_out: Mapping[str, int] = field(
        default_factory=dict
    )  # What is not stated, by one word each → how often.
