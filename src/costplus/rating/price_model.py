"""How a quantity becomes an amount: flat, per unit, package, graduated, volume.

Rule 1: pure and exact: everything arrives as an argument, and nothing here rounds money.
Rule 2: one formula per model, its slices; the amount is their sum and the parts are their differences, so
that Σ quantity × unit amount of the parts is the amount, to the last digit.
Rule 3: quantities are counted from the period's start: a line is worth amount(after) − amount(before).
Rule 4: a flat fee falls due with the first unit that enters its tier. Where nothing was used at all, the
first tier's falls due only under the policy `charge_flat_at_zero`.
Rule 5: the last tier is open-ended. What units beyond a bounded one cost is said at set-up (`open_ended`).
Rule 6: a volume price is known when the period ends; until then its parts are an estimate, and `true_up`
yields what corrects them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

from costplus.core.errors import InvalidRequest

Quantity = int | Fraction  # Parts are made of whole units; amounts can also be asked for parts of a unit.
Slice = tuple[Quantity, Fraction, str]  # A count since the period's start, what each costs, and a title.
Place = Literal["single", "first", "middle", "last"]  # Where a line stands in its billing period.
ZERO = Fraction(0)


class InvalidPriceModel(InvalidRequest):
    """The price's tiers, sizes or amounts cannot price every quantity."""

    code = "price_model_invalid"
    remedy = "Give ascending tiers whose last one has no end, sizes of 1 or more and amounts of 0 or more."


@dataclass(frozen=True, slots=True)
class Part:
    """A linear piece of an amount: `quantity` at `unit_amount` each, and which slice of the price it is."""

    quantity: int
    unit_amount: Fraction
    title: str

    @property
    def amount(self) -> Fraction:
        """What the part is worth, unrounded."""
        return self.quantity * self.unit_amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One step of a tiered price; `size` units are sold together, and a started pack counts whole."""

    up_to: int | None  # The last unit of the tier, inclusive; None for the open-ended last tier.
    unit_amount: Fraction  # For each pack of `size` units.
    flat_amount: Fraction = ZERO
    size: int = 1


class PriceModel(ABC):
    """A price; each model says only of which slices a whole quantity is made."""

    __slots__ = ()
    IS_ESTIMATE: ClassVar[bool] = False  # Whether parts must be trued up when the period ends.

    @abstractmethod
    def slices(self, quantity: Quantity) -> tuple[Slice, ...]:
        """Return how `quantity` units fill the price's slices: always the same slices in the same order."""

    def amount(self, quantity: Quantity) -> Fraction:
        """Return the unrounded worth of `quantity` units used since the period's start."""
        assert quantity >= 0
        return sum((count * unit for count, unit, _ in self.slices(quantity)), ZERO)

    def parts(self, *, before: int, quantity: int) -> tuple[Part, ...]:
        """Return what `quantity` more units add, after `before` units since the period's start."""
        assert before >= 0
        assert quantity >= 0
        if quantity == 0:
            return ()
        counted = [count for count, _, _ in self.slices(before)] if before else None
        return tuple(
            Part(added, unit, title)
            for index, (count, unit, title) in enumerate(self.slices(before + quantity))
            if (added := _whole(count - (counted[index] if counted else 0)))
        )

    def parts_at_zero(self) -> tuple[Part, ...]:
        """Return what is due for a period in which nothing was used."""
        return tuple(
            Part(_whole(count), unit, title) for count, unit, title in self.slices(0) if count * unit
        )

    def true_up(self, billed: Iterable[Part], *, quantity: int) -> tuple[Part, ...]:
        """Return what corrects the parts that were billed so far to the worth of the period's `quantity`.

        What was billed in vain comes back as a part of negative quantity at the rate it was billed at.
        """
        due = self.parts(before=0, quantity=quantity) if quantity else self.parts_at_zero()
        counts: Counter[tuple[Fraction, str]] = Counter()
        for part in billed:
            counts[part.unit_amount, part.title] -= part.quantity
        for part in due:
            counts[part.unit_amount, part.title] += part.quantity
        return tuple(Part(count, unit, title) for (unit, title), count in counts.items() if count)


@dataclass(frozen=True, slots=True)
class Flat(PriceModel):
    """An amount a period, however much is used."""

    flat_amount: Fraction

    def __post_init__(self) -> None:
        _check_amounts(self.flat_amount)

    def slices(self, quantity: Quantity) -> tuple[Slice, ...]:
        return ((1, self.flat_amount, "flat fee"),)

    def due_on(self, place: Place, *, in_advance: bool) -> Fraction:
        """Return what the line at that place of its period bears: the fee is on one line of it."""
        due = place == "single" or place == ("first" if in_advance else "last")
        return self.flat_amount if due else ZERO


@dataclass(frozen=True, slots=True)
class PerUnit(PriceModel):
    """The same amount for each unit."""

    unit_amount: Fraction

    def __post_init__(self) -> None:
        _check_amounts(self.unit_amount)

    def slices(self, quantity: Quantity) -> tuple[Slice, ...]:
        return ((quantity, self.unit_amount, "each unit"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package(PriceModel):
    """Units sold in packages; a started one counts whole, or under the policy `down` not at all."""

    size: int
    package_amount: Fraction
    rounding: Literal["up", "down"] = "up"

    def __post_init__(self) -> None:
        _check_amounts(self.package_amount)
        if self.size < 1:
            raise InvalidPriceModel(f"A package cannot hold {self.size} units.", param="size")

    def slices(self, quantity: Quantity) -> tuple[Slice, ...]:
        count = quantity // self.size if self.rounding == "down" else _packs(quantity, self.size)
        return ((count, self.package_amount, f"packages of {self.size}"),)


@dataclass(frozen=True, slots=True)
class Graduated(PriceModel):
    """Each tier prices the units that fall into it."""

    tiers: tuple[Tier, ...]
    charge_flat_at_zero: bool = False

    def __post_init__(self) -> None:
        _check_tiers(self.tiers)

    def slices(self, quantity: Quantity) -> tuple[Slice, ...]:
        found: list[Slice] = []
        start = 0
        for tier in self.tiers:
            within = max(min(quantity, tier.up_to or quantity) - start, 0)
            entered = within > 0 or (start == 0 and self.charge_flat_at_zero)
            title = _title(start, tier)
            if tier.flat_amount:
                found.append((int(entered), tier.flat_amount, f"flat fee, {title}"))
            found.append((_packs(within, tier.size), tier.unit_amount, title))
            start = tier.up_to or start
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Volume(PriceModel):
    """The tier that holds the period's last unit prices all of them.

    The parts of a line are priced in the tier reached by then, a tier's flat fee when it is first reached.
    """

    tiers: tuple[Tier, ...]
    charge_flat_at_zero: bool = False
    IS_ESTIMATE: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_tiers(self.tiers)

    def slices(self, quantity: Quantity) -> tuple[Slice, ...]:
        return self._in_tier(self._reached(quantity), quantity)

    def parts(self, *, before: int, quantity: int) -> tuple[Part, ...]:
        """Return what `quantity` more units add at the tier that they reach: an estimate."""
        assert before >= 0
        assert quantity >= 0
        if quantity == 0:
            return ()
        reached = self._reached(before + quantity)
        is_new = before == 0 or self._reached(before) != reached
        flat, (count, unit, title) = self._in_tier(reached, before + quantity)
        added = _whole(count - _packs(before, self.tiers[reached].size))
        units = [Part(added, unit, title)] if added else []
        return (*([Part(1, *flat[1:])] if is_new and flat[1] else []), *units)

    def _reached(self, quantity: Quantity) -> int:
        return next(i for i, tier in enumerate(self.tiers) if tier.up_to is None or quantity <= tier.up_to)

    def _in_tier(self, index: int, quantity: Quantity) -> tuple[Slice, Slice]:
        tier, start = self.tiers[index], (self.tiers[index - 1].up_to or 0) if index else 0
        title = f"all units, as {_title(start, tier)}"
        is_due = quantity > 0 or self.charge_flat_at_zero
        units = _packs(quantity, tier.size), tier.unit_amount, title
        return (int(is_due), tier.flat_amount, f"flat fee, {title}"), units


def open_ended(tiers: Sequence[Tier], *, beyond: Literal["free", "extend"]) -> tuple[Tier, ...]:
    """Return tiers without an end: units beyond a bounded last one are free, or priced as in that one."""
    last = tiers[-1]
    if last.up_to is None:
        return tuple(tiers)
    if beyond == "free":
        return (*tiers, Tier(up_to=None, unit_amount=ZERO))
    widened = Tier(up_to=None, unit_amount=last.unit_amount, flat_amount=last.flat_amount, size=last.size)
    return (*tiers[:-1], widened)


def _packs(quantity: Quantity, size: int) -> Quantity:
    """Return how many packs of `size` hold the quantity; parts of a unit stay parts where none is packed."""
    return quantity if size == 1 else -(-quantity // size)


def _whole(count: Quantity) -> int:
    assert count.denominator == 1
    return int(count)


def _title(start: int, tier: Tier) -> str:
    packed = "" if tier.size == 1 else f" in packs of {tier.size}"
    if tier.up_to is None:
        return (f"units over {start}" if start else "units") + packed
    return f"units {start + 1} to {tier.up_to}{packed}"


def _check_amounts(*amounts: Fraction) -> None:
    if any(amount < 0 for amount in amounts):
        raise InvalidPriceModel("An amount of a price is below zero.")


def _check_tiers(tiers: Sequence[Tier]) -> None:
    if not tiers or tiers[-1].up_to is not None:
        raise InvalidPriceModel(
            "The last tier has an end: units beyond it would have no price.", param="tiers"
        )
    start = 0
    for tier in tiers:
        _check_amounts(tier.unit_amount, tier.flat_amount)
        if tier.size < 1:
            raise InvalidPriceModel(f"A tier cannot sell {tier.size} units together.", param="tiers")
        if tier.up_to is None and tier is not tiers[-1]:
            raise InvalidPriceModel("Only the last tier may be without an end.", param="tiers")
        if tier.up_to is not None and tier.up_to <= start:
            raise InvalidPriceModel(f"The tier up to {tier.up_to} ends before it begins.", param="tiers")
        start = tier.up_to or start
