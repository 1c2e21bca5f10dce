"""Guards: when a whole view of a source is not believed, when it is too old, and what it says of retirement.

Rule 1: a rejected view changes nothing; the last accepted one stays. The words are permanent.
Rule 2: what changed is measured against the same source's last accepted view: sources differ among
themselves by more than any of them changes in a day.
Rule 3: a model that is gone, deprecated or redirected is marked; its price stays as it was.
Source: spec "prices", §6 (reject whole snapshot, retired names).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal

from costplus.catalog.agreement import same_price, spoken
from costplus.catalog.statement import ModelKey, SourceName, SourceView, Statement

Rejection = Literal["empty_snapshot", "models_missing", "mass_change"]
RetirementKind = Literal["gone", "ending", "deprecated", "redirected"]

MODELS_KEPT_MIN = Fraction(80, 100)
CHANGED_MAX = Fraction(10, 100)
TRACKED_MIN = 50  # Of fewer models a tenth is no sign of anything.
STALE_DAYS = 30


def rejection(
    view: SourceView, previous: SourceView | None, tracked: Collection[ModelKey]
) -> Rejection | None:
    """Return why a new view is not accepted, None where it is.

    `tracked` are the models with an active price; where there are none yet, all that the source states count.
    """
    if not view.statements:
        return "empty_snapshot"
    if previous is None:
        return None
    common = view.statements.keys() & previous.statements.keys()
    if lacks_models(len(common), of=len(previous.statements)):
        return "models_missing"
    compared = [key for key in common if key in tracked] if tracked else list(common)
    if len(compared) < TRACKED_MIN:
        return None
    changed = sum(_is_changed(view.statements[key], previous.statements[key]) for key in compared)
    return "mass_change" if changed > len(compared) * CHANGED_MAX else None


def lacks_models(count: int, *, of: int) -> bool:
    """Return whether too few of the models that a source stated are still there: gone or renamed."""
    return count < of * MODELS_KEPT_MIN


def _is_changed(now: Statement, before: Statement) -> bool:
    """Return whether a part that both state has another price; one that is new or gone is no change."""
    if now is before:
        return False
    parts, known = spoken(now.current), spoken(before.current)
    return any(not same_price(parts[part], known[part]) for part in parts.keys() & known.keys())


def is_stale(view: SourceView, at: datetime, days: int = STALE_DAYS) -> bool:
    """Return whether a source has had no new revision for over `days` days."""
    return at - view.as_of > timedelta(days=days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retirement:
    """What a source says about the end of a model; it marks the model and never moves its price."""

    kind: RetirementKind
    source: SourceName
    at: datetime | None = None
    redirect_to: str = ""


def retirements(
    key: ModelKey, *, views: Iterable[SourceView], previous: Mapping[SourceName, SourceView], at: datetime
) -> tuple[Retirement, ...]:
    """Return what each source says about a model's end at `at`, by source."""
    found = []
    for view in sorted(views, key=lambda view: view.source):
        said, source = view.statements.get(key), view.source
        if said is None:
            if source in previous and key in previous[source].statements:
                found.append(Retirement(kind="gone", source=source))
            continue
        if said.deprecated_at is not None:
            kind: RetirementKind = "deprecated" if said.deprecated_at <= at else "ending"
            found.append(Retirement(kind=kind, source=source, at=said.deprecated_at))
        if said.redirect_to:
            found.append(Retirement(kind="redirected", source=source, redirect_to=said.redirect_to))
    return tuple(found)
