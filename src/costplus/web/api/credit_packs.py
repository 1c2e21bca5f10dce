"""`/v1/token_billing/credit_packs`: credit at a price, to be bought again and again."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from costplus.billing.credit_pack import CreditPack, CreditPackInvalid, NoSuchCreditPack, price_minor
from costplus.billing.store import Tx
from costplus.core.ids import new_id
from costplus.core.money import checked_nano, minor_exponent, nano_per_minor
from costplus.web.call import Call, Listing, get, post
from costplus.web.listing import records
from costplus.web.params import ParametersExclude, Params

DAYS_MAX = 36_500


def pack_of(tx: Tx, id: str, *, param: str = "id") -> CreditPack:
    """Return the credit pack, or raise `NoSuchCreditPack`."""
    pack = tx.find(CreditPack, id)
    if pack is None:
        raise NoSuchCreditPack(f"No such credit pack: '{id}'", param=param)
    return pack


def _price_minor(params: Params, *, credit_minor: int, currency: str) -> int:
    """Return the price in minor units: as it was given, or of each unit of credit."""
    unit_price = params.decimal("unit_price")
    if unit_price is None:
        return params.required_integer("price", least=1)
    if params.integer("price") is not None:
        raise ParametersExclude("price and unit_price cannot be used together.", param="unit_price")
    if unit_price <= 0:
        raise CreditPackInvalid("A unit of credit costs more than nothing.", param="unit_price")
    units = Fraction(credit_minor, 10 ** minor_exponent(currency))
    return price_minor(units, unit_price=unit_price, currency=currency)


def create(tx: Tx, call: Call) -> CreditPack:
    """Create a pack: credit, its price (or unit_price), a bonus, how long each is valid."""
    params = call.params
    currency = params.required_text("currency", longest=3).lower()
    credit_minor = params.required_integer("credit", least=1)
    bonus_minor = params.integer("bonus") or 0
    price = _price_minor(params, credit_minor=credit_minor, currency=currency)
    checked_nano((credit_minor + bonus_minor) * nano_per_minor(currency))
    if not 0 < price <= credit_minor:
        raise CreditPackInvalid(f"The price {price} is not between 1 and the credit {credit_minor}.")
    pack = CreditPack(
        id=new_id("cpack", at=call.at),
        created=call.at,
        name=params.required_text("name", longest=100),
        currency=currency,
        price_minor=price,
        credit_minor=credit_minor,
        bonus_minor=bonus_minor,
        valid_days=params.integer("valid_days", least=1, most=DAYS_MAX),
        bonus_valid_days=params.integer("bonus_valid_days", least=1, most=DAYS_MAX),
        metadata=params.metadata(),
    )
    tx.save(pack)
    return pack


def retrieve(tx: Tx, call: Call) -> CreditPack:
    """Return a credit pack."""
    return pack_of(tx, call.path["id"])


def update(tx: Tx, call: Call) -> CreditPack:
    """Rename a pack, or take it off sale; its figures never change, so make another one for those."""
    pack, params = pack_of(tx, call.path["id"]), call.params
    active = params.flag("active")
    pack = replace(
        pack,
        name=params.text("name", longest=100) or pack.name,
        is_active=pack.is_active if active is None else active,
        metadata=params.metadata(pack.metadata),
    )
    tx.save(pack)
    return pack


def index(tx: Tx, call: Call) -> Listing:
    """List credit packs, newest first."""
    active = call.params.flag("active")
    return records(tx, call, CreditPack, keep=lambda pack: active in (None, pack.is_active))


PATH = "/v1/token_billing/credit_packs"
ENDPOINTS = (
    post(PATH, create),
    get(PATH, index),
    get(f"{PATH}/{{id}}", retrieve),
    post(f"{PATH}/{{id}}", update),
)
