"""The worker: what happens by itself. Periods close, credit expires, prices follow, old replies go, and usage
that had no price is charged once it has one.

Rule 1: any number of workers may share a store. Most jobs are transactions that look again at what is due, so
each thing happens once whoever comes first; the others are done by one worker at a time.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from functools import partial, wraps

import structlog

from costplus.billing.agenda import due_customers, fill_agenda
from costplus.billing.audit import Auditor
from costplus.billing.clock import customer_of
from costplus.billing.close import close_customer
from costplus.billing.collector import Collector
from costplus.billing.correct import correction_of, keep_correction, uncorrected
from costplus.billing.drift import Drift
from costplus.billing.job_lease import leave_job, take_job
from costplus.billing.meter_errors import announce_reports, has_reports
from costplus.billing.outbox import step_replay
from costplus.billing.payments.fake import FakeProcessor
from costplus.billing.price_current import keep_current
from costplus.billing.price_sync import PriceSync
from costplus.billing.reconcile_cost import check_costs
from costplus.billing.replay import WebhookReplay
from costplus.billing.resolve import entries_seen, priceable, resolve
from costplus.billing.store import Store, Tx
from costplus.billing.sweep import release_lost_leases
from costplus.billing.timed import has_news, look_at, to_look_at
from costplus.billing.watch import check_margins
from costplus.catalog.catalogue import Catalogue
from costplus.catalog.load import revision_of
from costplus.catalog.sources.fetch import open_client
from costplus.core.errors import BillingError
from costplus.rating.pricing import Pricing

CLOSE_EVERY_S = 30
CLOSED_AT_ONCE = 200  # So many customers share a round; each keeps a transaction of its own.
TELL_AGAIN_EVERY_S = 2
REPORT_ERRORS_EVERY_S = 5
LOOK_AT_RATES_S = 60
RESOLVE_EVERY_S = 60
LOOK_FOR_PRICES_S = 2
FORGET_EVERY_S = 3600
FOLLOW_UP_EVERY_S = 60
PRICES_SPREAD_S = 600
COSTS_EVERY_S = 86_400
COLLECT_EVERY_S = 2
RECHARGE_EVERY_S = 30
LOOK_AT_LEDGER_S = 2
RENEW_EVERY_S = 10  # Well within a lease.
REPLIES_KEPT = timedelta(hours=48)

log = structlog.get_logger("costplus.worker")


class Worker:
    """Runs the periodic jobs of one process until it is stopped."""

    def __init__(
        self,
        store: Store,
        *,
        pricing: Pricing,
        now: Callable[[], datetime],
        prices: PriceSync | None = None,
        prices_every_s: int = 21_600,
        collector: Collector | None = None,
        fake: FakeProcessor | None = None,
    ) -> None:
        self._store = store
        self._pricing = pricing
        self._now = now
        self._followed_up: tuple[int, date] | None = None
        self._prices = prices
        self._prices_every_s = prices_every_s
        self._collector = collector
        self._fake = fake
        self._priced_by: Catalogue | None = None  # The prices by which unpriced usage was resolved last,
        self._seen = 0  # and how much of it there had been.
        self._stop = asyncio.Event()
        self._agenda_filled = False
        self._name = f"worker_{secrets.token_hex(8)}"
        self.drift = Drift()

    async def run(self) -> None:
        """Run every job at its pace until `stop`."""
        jobs = [
            self._repeat(CLOSE_EVERY_S, self.close_due),
            self._repeat(TELL_AGAIN_EVERY_S, self.replay_events),
            self._repeat(REPORT_ERRORS_EVERY_S, self.report_meter_errors),
            self._repeat(LOOK_AT_RATES_S, self.look_at_rates),
            self._repeat(RESOLVE_EVERY_S, self.resolve_unpriced),
            self._repeat(LOOK_FOR_PRICES_S, self.resolve_at_new_prices),
            self._repeat(FOLLOW_UP_EVERY_S, self.alone(self.follow_up)),
            self._repeat(FORGET_EVERY_S, self.forget_replies),
            self._repeat(FORGET_EVERY_S, self.try_all_again),
            self._repeat(FORGET_EVERY_S, self.release_lost_leases),
            self._repeat(COSTS_EVERY_S, self.alone(self.compare_costs)),
            self._repeat(LOOK_AT_LEDGER_S, self.look_at_ledger),
        ]
        if self._prices is not None:
            sync = self.alone(self.sync_prices)
            jobs.append(self._repeat(self._prices_every_s, sync, spread_s=PRICES_SPREAD_S))
        if self._collector is not None:
            jobs.append(self._repeat(COLLECT_EVERY_S, self._collector.collect_due))
            jobs.append(self._repeat(RECHARGE_EVERY_S, self._collector.recharge_due))
        if self._fake is not None:
            jobs.append(self._repeat(COLLECT_EVERY_S, self._fake.call_back_due))
        await asyncio.gather(*jobs)

    def stop(self) -> None:
        """Let `run` end after the job at hand."""
        self._stop.set()

    async def _repeat(self, every_s: int, job: Callable[[], Awaitable[None]], *, spread_s: int = 0) -> None:
        """Run a job again and again; each pause is longer by up to `spread_s`: not all ask at once."""
        while not self._stop.is_set():
            try:
                await job()
            except BillingError as error:
                log.error("job_failed", job=job.__name__, code=error.code, message=error.message)
            try:
                async with asyncio.timeout(every_s + secrets.randbelow(spread_s + 1)):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def alone(self, job: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Return what does the job unless another worker is at it, and keeps others from it meanwhile."""
        name = job.__name__

        @wraps(job)
        async def done_alone() -> None:
            if not await self._take(name):
                return
            work = asyncio.ensure_future(job())
            try:
                while not (await asyncio.wait([work], timeout=RENEW_EVERY_S))[0]:
                    if not await self._take(name):
                        log.error("job_lost", job=name)  # This process stood still, and another went on.
                        return
                await work
            finally:
                if work.cancel():
                    await asyncio.wait([work])
                await self._store.write(partial(leave_job, name=name, holder=self._name), customers=())

        return done_alone

    async def _take(self, name: str) -> bool:
        take = partial(take_job, name=name, holder=self._name, at=self._now())
        return await self._store.write(take, customers=())

    async def close_due(self) -> None:
        """Close what is due in real time, one customer a transaction, many of them a commit."""
        at = self._now()
        if not self._agenda_filled:
            await self._store.write(partial(fill_agenda, at=at))
            self._agenda_filled = True
        failed: set[str] = set()
        while not self._stop.is_set():
            limit = CLOSED_AT_ONCE + len(failed)
            due = await self._store.read(partial(due_customers, at=at, limit=limit))
            todo = [customer for customer in due if customer not in failed]
            if not todo:
                return
            failed.update(await self._close_all(todo, at=at))

    async def _close_all(self, customers: list[str], *, at: datetime) -> list[str]:
        """Close the customers side by side; return those that could not be closed, each told of by itself."""
        closing = [
            self._store.write(partial(_close, customer=customer, at=at), customers=[customer])
            for customer in customers
        ]
        failed: list[str] = []
        outcomes = await asyncio.gather(*closing, return_exceptions=True)
        for customer, outcome in zip(customers, outcomes, strict=True):
            if isinstance(outcome, BillingError):
                log.error("close_failed", customer=customer, code=outcome.code, message=outcome.message)
                failed.append(customer)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                log.info("closed", customer=customer, steps=outcome)
        return failed

    async def replay_events(self) -> None:
        """Go on with the replays that endpoints were promised, a step a transaction."""
        running = await self._store.read(lambda tx: tx.page(WebhookReplay, parent="running"))
        for replay in reversed(running):
            going: WebhookReplay | None = replay
            while going is not None and going.status == "running" and not self._stop.is_set():
                going = await self._store.write(partial(step_replay, id=replay.id, at=self._now()))

    async def report_meter_errors(self) -> None:
        """Announce what was wrong with streamed meter events in the windows that have ended."""
        if await self._store.read(partial(has_reports, at=self._now())):
            await self._store.write(partial(announce_reports, at=self._now()))

    async def release_lost_leases(self) -> None:
        """Give back what gateway processes reserved that were not heard of for a day."""
        if count := await self._store.write(partial(release_lost_leases, at=self._now())):
            log.warning("leases_expired", count=count)

    async def look_at_rates(self) -> None:
        """Look at alerts about the present, writing only where there is something to tell."""
        at = self._now()
        for customer in await self._store.read(partial(to_look_at, at=at)):
            if await self._store.read(partial(has_news, customer=customer, at=at)):
                await self._store.write(partial(look_at, customer=customer, at=at), customers=[customer])

    async def sync_prices(self) -> None:
        """Ask the price sources, and say what came of it."""
        assert self._prices is not None
        async with await asyncio.to_thread(open_client) as client:
            report = await self._prices.run(client)
        for source in report.sources:
            say = log.info if source.outcome in ("new", "unchanged") else log.warning
            say("price_source", source=source.source, outcome=source.outcome, why=source.why)
        if report.changes:
            log.info(
                "prices_synchronised",
                applied=report.count("applied"),
                held=report.count("held"),
                soaking=report.count("soaking"),
            )

    async def follow_up(self) -> None:
        """After prices changed, and once a day: report what was learned late, and look at the margins."""
        pricing, at = self._pricing, self._now()
        state = await self._store.read(revision_of), at.date()
        if state == self._followed_up:
            return
        await keep_current(self._store, pricing)
        for change in await self._store.read(uncorrected):
            report = await self._store.read(partial(correction_of, pricing=pricing, change=change, at=at))
            if report is not None:
                await self._store.write(partial(keep_correction, report=report, at=at))
        await self._store.write(partial(check_margins, pricing=pricing, at=at))
        self._followed_up = state

    async def resolve_unpriced(self) -> None:
        """Charge unpriced usage that has a price by now, a batch a transaction.

        Where neither the prices nor the queue changed since the last time, there is nothing to be found.
        """
        pricing, catalogue = self._pricing, self._pricing.catalogue
        seen = await self._store.read(entries_seen)
        if catalogue is self._priced_by and seen == self._seen:
            return
        while not self._stop.is_set():
            if not await self._store.read(lambda tx: priceable(tx, pricing, limit=1)):
                self._priced_by, self._seen = catalogue, seen
                return
            done = await self._store.write(lambda tx: resolve(tx, pricing, at=self._now()))
            log.info("resolved", entries=done.count, still_open=done.still_open)

    async def resolve_at_new_prices(self) -> None:
        """Resolve at once where this process has come to sell by other prices."""
        if self._pricing.catalogue is not self._priced_by:
            await self.resolve_unpriced()

    async def try_all_again(self) -> None:
        """Let the next resolution look at everything: a card may have come to sell what it did not."""
        self._priced_by = None

    async def compare_costs(self) -> None:
        """Compare what calls cost by our figures with what providers said, for the days that passed."""
        found = await check_costs(self._store, at=self._now())
        if found:
            log.info("costs_compared", models=len(found), requests=sum(c.requests for c in found.values()))

    async def look_at_ledger(self) -> None:
        """Compare the next part of the ledger's balances with its postings."""
        bucket, auditor = self.drift.next_bucket, Auditor(self._pricing.catalogue)
        found = await self._store.read(partial(auditor.bucket, bucket=bucket))
        self.drift.note(bucket, found)
        for finding in found:
            log.error("ledger_drift", kind=finding.kind, subject=finding.subject, wrong=finding.wrong)

    async def forget_replies(self) -> None:
        """Delete stored replies that no retry will ask for any more."""
        horizon = self._now() - REPLIES_KEPT
        await self._store.write(lambda tx: tx.forget_replies(horizon), customers=())


def _close(tx: Tx, *, customer: str, at: datetime) -> int:
    return close_customer(tx, customer_of(tx, customer), until=at)
