"""A price as a person writes it: dollars per million units by leaf, `input` or `input@prompt_tokens>200000`.

Rule 1: pure and exact; what cannot be a price is refused by the name under which it was given.
Rule 2: conditions have the catalogue's own text; `a=x&b=y` and `b=y&a=x` are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from costplus.catalog.condition import is_when_text, when_of
from costplus.catalog.price import Component
from costplus.core.errors import InvalidRequest
from costplus.core.money import parse_decimal
from costplus.core.usage import LEAVES

PER = 1_000_000
PLACES_MAX = 12
USD_MAX = Decimal(1_000_000)  # A dollar for a single token.


class InvalidPrice(InvalidRequest):
    """The figures are no price."""

    code = "price_invalid"
    remedy = "Give each leaf an amount of zero or more in USD per million tokens, such as input=1.25."


def own_components(written: Mapping[str, str], *, param: str) -> tuple[Component, ...]:
    """Return the components of amounts in USD per million units, by `leaf` or `leaf@conditions`.

    Raises `InvalidPrice`, `InvalidAmount`.
    """
    found: dict[tuple[str, frozenset[object]], Component] = {}
    for name, text in written.items():
        named = f"{param}[{name}]"
        component = _component(name, parse_decimal(text.strip(), param=named), param=named)
        part = component.leaf, frozenset(component.when)
        if part in found:
            raise InvalidPrice(f"The price of {name} is given twice.", param=named)
        found[part] = component
    return tuple(found.values())


def _component(name: str, amount: Decimal, *, param: str) -> Component:
    leaf, at, when = name.partition("@")
    leaf, when = leaf.strip(), when.strip()
    if leaf not in LEAVES:
        known = ", ".join(LEAVES)
        raise InvalidPrice(f"There is no leaf '{leaf}'; known are {known}.", param=param)
    if not is_when_text(when) or (at and not when):
        raise InvalidPrice(
            f"'{when}' is no condition.",
            param=param,
            remedy="Write input@prompt_tokens>200000 or output@processing=batch; several are joined by &.",
        )
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -PLACES_MAX:
        raise InvalidPrice(f"The price of {name} has more than {PLACES_MAX} decimals.", param=param)
    if amount < 0:
        raise InvalidPrice(f"The price of {name} is negative.", param=param)
    if amount > USD_MAX:
        raise InvalidPrice(f"The price of {name} is above {USD_MAX} USD per million.", param=param)
    conditions = tuple(sorted(set(when_of(when)), key=lambda condition: condition.text))
    return Component(leaf, amount, PER, conditions)


def check_figures(components: Sequence[Component], *, since: datetime, ends_at: datetime | None) -> None:
    """Raise `InvalidPrice` where components or dates are those of no price."""
    if not components:
        raise InvalidPrice("A price has at least one figure.", param="prices")
    for component in components:
        if component.leaf not in LEAVES:
            known = ", ".join(LEAVES)
            raise InvalidPrice(f"There is no leaf '{component.leaf}'; known are {known}.", param="prices")
        if component.amount < 0:
            raise InvalidPrice(f"The price of {component.leaf} is negative.", param="prices")
    if ends_at is not None and ends_at <= since:
        raise InvalidPrice(
            "The price ends before it begins.", param="ends_at", remedy="Give an end after its start."
        )
