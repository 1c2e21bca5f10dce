"""Account for calls: journal what was used, end what was held, queue the settlement.

Rule 1: a call ends once: accounted for, or void.
Rule 2: what is priced is what served (gateway rule 2); where the served model has no price, the requested
one's stands, flagged.
Rule 3: usage that the journal refuses is settled all the same.
"""

from __future__ import annotations

from time import perf_counter

import structlog

from costplus.catalog.price import ModelUnpriced
from costplus.core.usage import Usage
from costplus.gateway.attempt import cost_row
from costplus.gateway.call import Call, charged, measured, used_by
from costplus.gateway.errors import JournalFull
from costplus.gateway.journal import Journal, Used
from costplus.gateway.settle import Settler
from costplus.gateway.wire import Reading
from costplus.rating.charge import Charge
from costplus.rating.pricing import Pricing
from costplus.rating.sheet import RateSheet

SERVED_UNPRICED = "served_model_unpriced"  # Flag: charged as the model that was asked for.

log = structlog.get_logger("costplus.gateway.account")


class Accountant:
    """Ends calls, in the journal and in the books."""

    def __init__(self, *, journal: Journal, settler: Settler, pricing: Pricing) -> None:
        self._journal = journal
        self._settler = settler
        self._pricing = pricing

    def account(self, call: Call, reading: Reading) -> Charge:
        """Journal what the call used, end its hold, queue its settlement; return its charge."""
        began_s = perf_counter()
        call.ended = True
        self._serve(call, reading)
        usage = measured(call, reading)
        if call.flags:
            usage = Usage(usage.quantities, (*usage.flags, *call.flags))
        charge = charged(call, usage, reading, sheet_of=lambda model: self._sheet_of(call, model))
        call.usage = usage
        call.ticket.used(sum(usage.quantities.values()))
        call.used = used_by(call, usage, reading, charge)
        self._book(call.used, charge)
        call.accounting_s = perf_counter() - began_s
        return charge

    def keep_cost(self, call: Call, number: int) -> None:
        """Book what an attempt that failed may have cost, beside the call itself."""
        self._book(*cost_row(call, number))

    def void(self, call: Call, reason: str) -> None:
        """End a call that used nothing, unless it has ended already."""
        if call.ended:
            return
        call.ended = True
        call.held.close(0)
        call.ticket.used(0)
        try:
            self._journal.void(call.id, reason)
        except JournalFull as error:
            log.error("journal_refused_void", code=error.code, request=call.id)

    async def made_durable(self, call: Call) -> None:
        """Wait for the disk; the caller gets its answer in any case."""
        began_s = perf_counter()
        try:
            await self._journal.durable()
        except JournalFull as error:
            log.error("journal_not_durable", code=error.code, request=call.id)  # The store has it soon.
        call.accounting_s += perf_counter() - began_s

    def _book(self, used: Used, charge: Charge) -> None:
        try:
            self._journal.use(used, [line.rate for line in charge.lines])
        except JournalFull as error:
            log.error("journal_refused_usage", code=error.code, request=used.id)  # Settled all the same.
        self._settler.submit_call(used, charge)

    def _serve(self, call: Call, reading: Reading) -> None:
        """Where another model served than was asked for, price what was served.

        Where the requested one had no price either, there is nothing to flag: the charge says so.
        """
        if not reading.model or reading.model == call.sheet.model:
            return
        try:
            priced = self._pricing.used(call.sheet.provider, reading.model, card=call.sheet.card, at=call.at)
        except ModelUnpriced:
            if not call.sheet.stands_in:
                call.flags = (*call.flags, SERVED_UNPRICED)
            return
        call.fast = call.fast or ("speed", "fast") in priced.name.modifiers
        if priced.sheet.price.id != call.sheet.price.id:
            call.sheet = priced.sheet

    def _sheet_of(self, call: Call, model: str) -> RateSheet | None:
        """Return the sheet of another model of the call's provider, None where it has no price."""
        try:
            return self._pricing.used(call.sheet.provider, model, card=call.sheet.card, at=call.at).sheet
        except ModelUnpriced:
            return None
