"""A rate card's terms as parameters: markups, token types, fixed and fallback prices, floor, tracking.

Rule 1: what is not sent stays; an empty text unsets: one entry, or with the whole group every entry.
Rule 2: names are kept as the catalogue writes them, whatever spelling was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from costplus.catalog.catalogue import Catalogue, canonical_model
from costplus.catalog.names import canonical_provider
from costplus.core.errors import InvalidRequest
from costplus.core.usage import LEAVES
from costplus.rating.fallback import check_fallback
from costplus.rating.floor import check_floor
from costplus.rating.rate_card import (
    Adjustment,
    AttemptPolicy,
    ExhaustionPolicy,
    FixedPrice,
    InvalidMarkup,
    PriceTracking,
    RateCardVersion,
    Tracking,
    UnpricedPolicy,
    adjustment,
)
from costplus.web.params import ParametersExclude, Params

T = TypeVar("T")
TRACKING: tuple[PriceTracking, ...] = ("disabled", "migrate_all", "new_customers_only")
UNPRICED: tuple[UnpricedPolicy, ...] = ("block", "hold", "fallback")
ATTEMPTS: tuple[AttemptPolicy, ...] = ("free", "charged")
EXHAUSTION: tuple[ExhaustionPolicy, ...] = ("finish", "cut")
DECIMALS_MAX = 12  # Of a fixed price, as of Stripe's unit amounts.
PER_MAX = 10**9
NOTICE_DAYS_MAX = 366
MILLION = 1_000_000


class ProviderUnknown(InvalidRequest):
    """A markup is set for a provider or model that has no price."""

    code = "markup_override_unknown"
    remedy = "Name a provider or a provider/model that GET /v1/models lists."


class PricedModelUnknown(InvalidRequest):
    """A price is set for a model that the catalogue has no price for."""

    code = "price_override_unknown"
    remedy = "Write a token type, or provider/model:token_type with a model that GET /v1/models lists."


class TokenTypeUnknown(InvalidRequest):
    """There is no such kind of tokens or calls."""

    code = "token_type_unknown"
    remedy = f"Use one of {', '.join(LEAVES)}."


class InvalidFixedPrice(InvalidRequest):
    """A fixed price that cannot be charged."""

    code = "fixed_price_invalid"
    remedy = f"Give an amount of 0 or more with at most {DECIMALS_MAX} decimals."


def own_adjustment(params: Params, *, prefix: str = "") -> Adjustment | None:
    """Return the markup or margin that was sent, None where both are absent or empty."""
    markup = params.decimal(f"{prefix}markup_percent")
    margin = params.decimal(f"{prefix}margin_percent")
    if markup is not None and margin is not None:
        raise ParametersExclude(
            "A markup is a share of the cost, a margin a share of the price: give one of them.",
            param=f"{prefix}margin_percent",
        )
    if margin is not None:
        return adjustment("margin", margin)
    return None if markup is None else adjustment("markup", markup)


def overrides(
    params: Params, catalogue: Catalogue, *, at: datetime
) -> tuple[dict[str, Adjustment], dict[str, Adjustment]]:
    """Return the markups of providers and those of models, from nothing."""
    providers: dict[str, Adjustment] = {}
    models: dict[str, Adjustment] = {}
    level = params.within("markup_overrides")
    for name in level.keys():  # noqa: SIM118 - Params is no mapping: it is not iterable by itself.
        percent = level.decimal(name)
        if percent is not None:
            known, is_model = _override_name(level, catalogue, name, at=at)
            (models if is_model else providers)[known] = adjustment("markup", percent)
    return dict(sorted(providers.items())), dict(sorted(models.items()))


def _override_name(level: Params, catalogue: Catalogue, name: str, *, at: datetime) -> tuple[str, bool]:
    """Return the catalogue's name of a provider or a model, and whether it is a model's."""
    model = canonical_model(catalogue, name, at=at)
    if model is not None:
        return model, True
    provider = canonical_provider(name)
    if provider not in catalogue.providers:
        raise ProviderUnknown(
            f"'{name}' is neither a provider nor a priced model.", param=level.name_of(name)
        )
    return provider, False


def revised(
    params: Params, live: RateCardVersion, catalogue: Catalogue, *, id: str, at: datetime
) -> RateCardVersion:
    """Return the live version with the terms that were sent. Raises what they break, by its parameter."""

    def leaf(level: Params, name: str) -> str:
        return _leaf_name(level, catalogue, name, at=at)

    default = own_adjustment(params, prefix="default_") or live.default
    version = replace(live, id=id, created=at, default=default)
    version = _with_overrides(params, version, catalogue, at=at)
    floor = version.floor_margin_percent
    if "floor_margin_percent" in params:
        floor = _floor(params)
    version = replace(
        version,
        token_types=merged(params, "token_type_overrides", version.token_types, name_of=leaf, read=_markup),
        fixed=merged(params, "fixed_prices", version.fixed, name_of=leaf, read=_fixed_price),
        fallback=fallback_prices(params, version.fallback),
        floor_margin_percent=floor,
        own_key_fee_percent=_own_key_fee(params, version.own_key_fee_percent),
        unpriced=(unpriced_policy(params) or "block") if "unpriced" in params else version.unpriced,
        failed_attempts=params.choice("failed_attempts", ATTEMPTS) or version.failed_attempts,
        on_exhaustion=params.choice("on_exhaustion", EXHAUSTION) or version.on_exhaustion,
    )
    if not version.same_terms(live):
        check_fallback(version)
        check_floor(version, catalogue, at=at)
    return version


def _with_overrides(
    params: Params, version: RateCardVersion, catalogue: Catalogue, *, at: datetime
) -> RateCardVersion:
    providers, models = dict(version.providers), dict(version.model_overrides)
    level = params.within("markup_overrides")
    if "markup_overrides" in params and not level.keys():
        providers, models = {}, {}
    for name in level.keys():  # noqa: SIM118 - Params is no mapping: it is not iterable by itself.
        known, is_model = _override_name(level, catalogue, name, at=at)
        _put(models if is_model else providers, known, _markup(level, name))
    return replace(
        version,
        providers=dict(sorted(providers.items())),
        model_overrides=dict(sorted(models.items())),
    )


def unpriced_policy(params: Params) -> UnpricedPolicy | None:
    """Return what is to become of usage without a price, None where that is absent or empty."""
    return params.choice("unpriced", UNPRICED)


def fallback_prices(params: Params, known: Mapping[str, FixedPrice]) -> dict[str, FixedPrice]:
    """Return the prices per leaf for models without one: those known with those that were sent."""
    return merged(params, "fallback_prices", known, name_of=_plain_leaf, read=_fixed_price)


def merged(
    params: Params,
    group: str,
    known: Mapping[str, T],
    *,
    name_of: Callable[[Params, str], str],
    read: Callable[[Params, str], T | None],
) -> dict[str, T]:
    """Return a group's entries with those that were sent; empty ones are removed."""
    level = params.within(group)
    names = level.keys()
    entries = {} if group in params and not names else dict(known)
    for name in names:
        _put(entries, name_of(level, name), read(level, name))
    return dict(sorted(entries.items()))


def _put(entries: dict[str, T], name: str, value: T | None) -> None:
    entries.pop(name, None)
    if value is not None:
        entries[name] = value


def _markup(level: Params, name: str) -> Adjustment | None:
    percent = level.decimal(name)
    if percent is None:
        return None
    try:
        return adjustment("markup", percent)
    except InvalidMarkup as error:
        raise InvalidMarkup(error.message, param=level.name_of(name)) from None


def _fixed_price(level: Params, name: str) -> FixedPrice | None:
    """Return `[amount]` per `[per]`: by default a million tokens, or one call."""
    entry = level.within(name)
    amount, leaf = entry.decimal("amount"), name.rpartition(":")[2]
    per = entry.integer("per", least=1, most=PER_MAX)
    if amount is None:
        if per is not None:
            raise entry.missing("amount")
        return None
    if amount < 0 or -_exponent(amount) > DECIMALS_MAX:
        raise InvalidFixedPrice(f"An amount of {amount} cannot be charged.", param=entry.name_of("amount"))
    return FixedPrice(amount, per or (MILLION if LEAVES[leaf].unit == "token" else 1))


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # It is finite.
    return exponent


def _plain_leaf(level: Params, name: str) -> str:
    if name not in LEAVES:
        raise TokenTypeUnknown(f"There is no token type '{name}'.", param=level.name_of(name))
    return name


def _leaf_name(level: Params, catalogue: Catalogue, name: str, *, at: datetime) -> str:
    """Return `leaf` or `provider/model:leaf` as a card keeps it. A model's own name may hold a colon."""
    model, colon, leaf = name.rpartition(":")
    if leaf not in LEAVES:
        raise TokenTypeUnknown(f"There is no token type '{leaf}'.", param=level.name_of(name))
    if not colon:
        return leaf
    known = canonical_model(catalogue, model, at=at)
    if known is None:
        raise PricedModelUnknown(f"Model '{model}' has no price.", param=level.name_of(name))
    return f"{known}:{leaf}"


def _floor(params: Params) -> Decimal | None:
    percent = params.decimal("floor_margin_percent")
    if percent is None:
        return None
    try:
        return adjustment("margin", percent).percent
    except InvalidMarkup as error:
        raise InvalidMarkup(error.message, param="floor_margin_percent") from None


def _own_key_fee(params: Params, known: Decimal) -> Decimal:
    """Return what of the list price a call with the customer's own key is charged, in percent."""
    if "own_key_fee_percent" not in params:
        return known
    percent = params.decimal("own_key_fee_percent")
    if percent is None:
        return Decimal(0)
    try:
        return adjustment("markup", percent).percent
    except InvalidMarkup as error:
        raise InvalidMarkup(error.message, param="own_key_fee_percent") from None


def tracking_of(params: Params, known: Tracking) -> Tracking:
    """Return a card's options with those that were sent; an empty one goes back to its default."""
    level = params.within("tracking")
    if "tracking" in params and not level.keys():
        return Tracking()
    return replace(known, **dict(_options(level)))


def _options(level: Params) -> Iterator[tuple[str, Any]]:
    """Yield the options that were sent."""
    usual = Tracking()
    if "new_models" in level:
        yield "new_models", level.choice("new_models", TRACKING) or usual.new_models
    for name in ("apply_decreases", "apply_increases"):
        if name in level:
            flag = level.flag(name)
            yield name, getattr(usual, name) if flag is None else flag
    if "max_increase_percent" in level:
        yield "max_increase_percent", _largest_rise(level)
    if "notice_days" in level:
        yield "notice_days", level.integer("notice_days", most=NOTICE_DAYS_MAX) or 0
    if "moves" in level:
        yield "moves", level.choice("moves", ("immediately", "next_period")) or usual.moves


def _largest_rise(level: Params) -> Decimal | None:
    percent = _markup(level, "max_increase_percent")
    return None if percent is None else percent.percent
