"""One case of another billing system: what it states, the policy it follows, and what became of it.

Rule 1: a case is known by its form alone, its model and the names of its inputs; never by its id.
Rule 2: every input must be used by whoever runs the case: one that nobody asked for means `NotRun`.
Rule 3: a policy comes from what the case states: an input, or else the system whose billing it describes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from vector_stores import Books, Place

from costplus.core.money import InvalidAmount, decimal_text, parse_decimal

Figures = Mapping[str, Any]  # What a runner found; `amount` is what a case without names expects.

# What systems do where they differ from each other, as their own documents and tests say.
POLICIES_OF: Mapping[str, frozenset[str]] = {
    "openmeter": frozenset({"flat_at_zero", "round_each_line", "line_half_up", "volume_at_period_end"}),
    "lago": frozenset({"flat_at_zero", "round_each_fee", "credit_after_tax", "overage_on_last_wallet"}),
    "flexprice": frozenset({"days_inclusive"}),
    "polar": frozenset({"free_beyond_last_tier"}),
    "killbill": frozenset({"extend_last_tier"}),
    "autumn": frozenset({"no_rate_is_free"}),
}
# Every policy that a case can be run under, each with what it means.
POLICIES: Mapping[str, str] = {
    "flat_at_zero": "the first tier's flat fee is due though nothing was used",
    "no_flat_at_zero": "no flat fee is due where nothing was used",
    "round_each_line": "converted units are rounded line by line, not cumulatively",
    "line_half_up": "each line is rounded to the nearest minor unit, a half up",
    "round_each_fee": "each fee of an invoice is rounded half up before they are summed",
    "package_rounds_down": "only full packages count",
    "volume_at_period_end": "a volume price bills nothing before its period ends",
    "free_beyond_last_tier": "units beyond a bounded last tier are free",
    "extend_last_tier": "units beyond a bounded last tier cost what they cost in it",
    "ancestors_rate": "tokens of a kind without a rate of its own cost what the kind above it costs",
    "no_rate_is_free": "tokens of a kind without a rate of its own are free",
    "vendor_of_the_name": "a name without a provider is looked up at the vendors that sell their own models",
    "credit_after_tax": "prepaid credit pays an invoice with its tax, not what is taxed",
    "overage_on_last_wallet": "what no wallet covers makes the last one that may pay go below zero",
    "preserve_overage": "usage beyond a period's credit is taken from what begins with the next period",
    "drop_overage": "usage beyond a period's credit takes nothing from what begins with the next period",
    "days_inclusive": "a change is prorated by days, the running one counted as left",
    "cycle_restarts": "a change begins a new period, asked for in full",
    "hold_to_limit": "a debit is held first, and refused where it is beyond the limit",
    "overage_is_owed": "a debit beyond the balance is booked, and owed",
}
ASKED = object()


class NotRun(Exception):
    """The case cannot be run, and why."""


@dataclass(slots=True)
class Given:
    """A case's inputs, which remembers what was asked for and which policies mattered."""

    system: str
    inputs: Mapping[str, Any]
    model: str = ""
    asked: set[str] = field(default_factory=set)
    policies: list[str] = field(default_factory=list)
    dispute: str = ""  # The rule of ours that forbids what the case wants, where one does.
    theirs: Figures | None = None  # What the case's system comes to by its own rule, where that is known.
    is_listing: bool = False  # Whether the case lists every figure: one it leaves out should be zero.
    place: Place | None = None  # Where books are opened, for cases about money.
    opened: list[Books] = field(default_factory=list)

    def books(self) -> Books:
        """Return fresh books, which are closed with the case."""
        assert self.place is not None, "the case is about money and has no store"
        self.opened.append(self.place())
        return self.opened[-1]

    def close(self) -> None:
        while self.opened:
            self.opened.pop().close()

    def has(self, *names: str) -> bool:
        """Whether all of these inputs are stated."""
        return all(self.inputs.get(name) is not None for name in names)

    def take(self, name: str, default: Any = ASKED, *, kind: type = object) -> Any:
        """Return an input, which must be of that kind, or the default where it is not stated."""
        self.asked.add(name)
        value = self.inputs.get(name)
        if value is None and default is ASKED:
            raise NotRun(f"input '{name}' is missing")
        if value is not None and not isinstance(value, kind):
            raise NotRun(f"input '{name}' is no {kind.__name__}")
        return default if value is None else value

    def number(self, name: str, default: Any = ASKED) -> Fraction:
        return fraction(self.take(name, default))

    def optional(self, name: str) -> Fraction | None:
        return fraction(self.take(name)) if self.has(name) else self.take(name, None)

    def count(self, name: str, default: Any = ASKED) -> int:
        return whole(self.take(name, default))

    def rows(self, name: str, *fields: str) -> list[Mapping[str, Any]]:
        """Return an input that is a list of rows with no other fields than these."""
        rows: list[Any] = self.take(name, kind=list)
        if not all(isinstance(row, Mapping) for row in rows):
            raise NotRun(f"input '{name}' is no list of rows")
        if extra := sorted({key for row in rows for key in row} - set(fields)):
            raise NotRun(f"'{extra[0]}' in '{name}' is not understood")
        return rows

    def first(self, *names: str) -> Fraction:
        """Return the first of these inputs that is stated."""
        stated = [name for name in names if self.has(name)]
        if not stated:
            raise NotRun(f"none of the inputs {', '.join(names)} is stated")
        return self.number(stated[0])

    def follows(self, policy: str) -> bool:
        """Whether the case's system follows a policy; if so, it is noted down."""
        return policy in POLICIES_OF.get(self.system, ()) and self.under(policy)

    def under(self, policy: str) -> bool:
        """Note down a policy that the case states itself."""
        assert policy in POLICIES, policy
        if policy not in self.policies:
            self.policies.append(policy)
        return True

    def contest(self, rule: str, theirs: Figures) -> None:
        """Note down the rule of ours that the case is against, and what its system's own rule comes to."""
        self.dispute, self.theirs = rule, theirs

    def is_disputed(self, expected: Any) -> bool:
        """Whether what the case expects is what its system's own rule comes to, against a rule of ours."""
        if not self.dispute or self.theirs is None:
            return bool(self.dispute)
        return not difference(self.theirs, expected, is_listing=False)

    def check_used(self) -> None:
        """Raise `NotRun` where an input was not used."""
        left = sorted(name for name in self.inputs if name not in self.asked)
        if left:
            raise NotRun(f"input '{left[0]}' is not understood")


Runner = Callable[[Given], Figures]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case: `holds`, `dispute`, `wrong` or `not run`, and why."""

    case: Mapping[str, Any]
    kind: str
    why: str = ""
    policies: tuple[str, ...] = ()
    figures: Figures = field(default_factory=dict)
    by: tuple[str, ...] = ("prices",)  # What it was run by: prices alone, or books in these stores.
    is_documented: bool = False  # Not run because the engine refuses such a price, with a documented code.

    @property
    def line(self) -> str:
        return f"  {self.kind}: {self.case.get('id', 'a case without an id')}: {self.why}"


def fraction(value: Any) -> Fraction:
    """Return the exact number that a case writes as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise NotRun(f"{value!r} is not a number")
    try:
        return Fraction(parse_decimal(str(value)))
    except InvalidAmount:
        raise NotRun(f"{value!r} is not a number") from None


def whole(value: Any) -> int:
    """Return the whole number of 0 or more that a case writes."""
    number = fraction(value)
    if number.denominator != 1 or number < 0:
        raise NotRun(f"{value} is no count")
    return int(number)


def difference(found: Figures, expected: Any, *, is_listing: bool) -> str:
    """Return how the figures found differ from those expected, or nothing."""
    named = expected if isinstance(expected, Mapping) else {"amount": expected}
    missing = sorted(set(named) - set(found))
    if missing:
        raise NotRun(f"figure '{missing[0]}' is not computed")
    if is_listing:
        named = {**dict.fromkeys(found, 0), **named}
    wrong = [
        f"{name} is {shown(found[name])}, expected {value}"
        for name, value in named.items()
        if not agrees(found[name], value)
    ]
    return "; ".join(wrong)


def agrees(found: Any, value: Any) -> bool:
    """Return whether a figure, or each of a list of them, is the one expected."""
    if isinstance(found, list):
        return isinstance(value, list) and len(found) == len(value) and all(map(agrees, found, value))
    return bool(found == value if isinstance(found, str) else found == fraction(value))


def shown(figure: Any) -> str:
    """Write a figure, or a list of them, in full."""
    if isinstance(figure, list):
        return f"[{', '.join(map(shown, figure))}]"
    return figure if isinstance(figure, str) else decimal_text(figure)
