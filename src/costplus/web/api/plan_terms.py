"""What a plan includes and commits to, as parameters: for whatever creates or changes a plan.

Rule 1: amounts are minor units, allowances whole units. Models are named as the catalogue writes them.
Rule 2: what cannot be counted is refused by the parameter that says it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from costplus.billing.allowance import (
    ALLOWANCES_MAX,
    MINIMUM_PERIODS_MAX,
    ROLLOVER_PERIODS_MAX,
    UNITS_MAX,
    Allowance,
    CreditTerms,
    InvalidAllowance,
    MinimumSpend,
    Rollover,
)
from costplus.catalog.catalogue import Catalogue, canonical_model
from costplus.catalog.names import canonical_provider
from costplus.metering.event import TOKEN_METER
from costplus.web.api.card_terms import ProviderUnknown
from costplus.web.api.meters import EVENT_NAME_MAX
from costplus.web.params import Params

AMOUNT_MAX = 10**9
ID_MAX = 40
CATEGORIES = ("paid", "promotional")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTerms:
    """The terms that were sent; `shadow` is None where nothing was said about it."""

    credit_terms: CreditTerms = field(default_factory=CreditTerms)
    allowances: tuple[Allowance, ...] = ()
    minimum: MinimumSpend | None = None
    shadow: bool | None = None


def plan_terms(params: Params, catalogue: Catalogue, *, at: datetime) -> PlanTerms:
    """Return what `credit_grant_…`, `allowances`, `minimum_spend` and `cost_tracking_only` say."""
    return PlanTerms(
        credit_terms=CreditTerms(
            category=params.choice("credit_grant_category", CATEGORIES) or "promotional",  # type: ignore[arg-type]  # One of both.
            priority=_priority(params),
            rollover=_rollover(params.within("credit_rollover"), of_credit=True),
        ),
        allowances=allowances_of(params, catalogue, at=at),
        minimum=_minimum(params.within("minimum_spend")),
        shadow=params.flag("cost_tracking_only"),
    )


def allowances_of(params: Params, catalogue: Catalogue, *, at: datetime) -> tuple[Allowance, ...]:
    """Return the allowances that were sent, in their order."""
    levels = params.each("allowances")
    if len(levels) > ALLOWANCES_MAX:
        raise InvalidAllowance(
            f"{len(levels)} allowances are too many.",
            param="allowances",
            remedy=f"Give at most {ALLOWANCES_MAX}.",
        )
    found = tuple(_allowance(level, catalogue, index, at=at) for index, level in enumerate(levels))
    ids = [allowance.id for allowance in found]
    for index, id in enumerate(ids):
        if id in ids[:index]:
            raise InvalidAllowance(
                f"Two allowances have the id '{id}'.",
                param=levels[index].name_of("id"),
                remedy="Give each its own.",
            )
    return found


def _allowance(level: Params, catalogue: Catalogue, index: int, *, at: datetime) -> Allowance:
    meter = level.text("event_name", longest=EVENT_NAME_MAX) or TOKEN_METER
    weights = level.within("weights")
    made = Allowance(
        id=level.text("id", longest=ID_MAX) or f"allowance-{index + 1}",
        name=level.text("name", longest=100) or "",
        units=level.required_integer("units", least=1, most=UNITS_MAX),
        meter=meter,
        models=tuple(_name(level, catalogue, name, at=at) for name in level.texts("models")),
        token_types=tuple(level.texts("token_types")),
        weights={
            leaf: weight
            for leaf in weights.keys()  # noqa: SIM118 - Params is no mapping: it is not iterable by itself.
            if (weight := weights.decimal(leaf)) is not None
        },
        rollover=_rollover(level.within("rollover"), of_credit=False),
    )
    try:
        made.check()
    except InvalidAllowance as error:
        raise InvalidAllowance(error.message, param=level.name_of(error.param or "units")) from None
    return made


def _name(level: Params, catalogue: Catalogue, name: str, *, at: datetime) -> str:
    """Return the catalogue's name of a model or of a provider."""
    model = canonical_model(catalogue, name, at=at)
    if model is not None:
        return model
    provider = canonical_provider(name)
    if provider not in catalogue.providers:
        raise ProviderUnknown(
            f"'{name}' is neither a provider nor a priced model.", param=level.name_of("models")
        )
    return provider


def _rollover(level: Params, *, of_credit: bool) -> Rollover:
    """Return the rollover; where only a cap is given it is for one period."""
    most = level.integer("most", most=AMOUNT_MAX if of_credit else UNITS_MAX)
    percent: Decimal | None = level.decimal("most_percent")
    periods = level.integer("periods", most=ROLLOVER_PERIODS_MAX)
    is_capped = most is not None or percent is not None
    made = Rollover(
        periods=periods if periods is not None else int(is_capped),
        most=most,
        most_percent=percent,
        least=(level.integer("least", most=AMOUNT_MAX) or 0) if of_credit else 0,
        pays_overage=level.flag("pays_overage") is not False if of_credit else True,
    )
    try:
        made.check()
    except InvalidAllowance as error:
        raise InvalidAllowance(error.message, param=level.name_of(error.param or "periods")) from None
    return made


def _priority(params: Params) -> int:
    priority = params.integer("credit_grant_priority", most=100)
    return CreditTerms().priority if priority is None else priority


def _minimum(level: Params) -> MinimumSpend | None:
    """Return the minimum, None where no amount or 0 was given."""
    amount_minor = level.integer("amount", most=AMOUNT_MAX) or 0
    periods = level.integer("periods", least=1, most=MINIMUM_PERIODS_MAX) or 1
    return MinimumSpend(amount_minor=amount_minor, periods=periods) if amount_minor else None
