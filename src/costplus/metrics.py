"""Metrics for Prometheus at `GET /metrics`: what this process did, and how far the books are behind.

Rule 1: it takes a bearer token: the settings' own for metrics, or a merchant's key; they say what is earned.
Rule 2: no label tells customers apart. Money is counted in whole nanos and is a float only on this page.
Rule 3: what belongs to the database and not to this process (`costplus_webhook_backlog`,
`costplus_price_age_seconds`, `costplus_events_unpriced`) is read at most every few seconds, whoever asks.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from costplus import __version__
from costplus.billing.customer import ApiKey
from costplus.billing.price_report import freshness_of
from costplus.billing.store import Store, Tx
from costplus.billing.unpriced import UnpricedModel
from costplus.bootstrap import Gateway
from costplus.catalog.load import every
from costplus.core.errors import Unauthenticated, Unavailable
from costplus.core.money import NANO
from costplus.gateway.rsgi_asgi import RsgiProto, RsgiScope
from costplus.gateway.tally import CallTally, Spread
from costplus.rating.pricing import Pricing
from costplus.worker import Worker

PATH = "/metrics"
FIGURES_KEPT_S = 5


class MetricsKeyInvalid(Unauthenticated):
    """Metrics were asked for without the token for them."""

    code = "metrics_token_invalid"
    remedy = "Send `metrics_token` of the settings, or a merchant's key, as `Authorization: Bearer …`."


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFigures:
    """What is read from the database for a page of metrics."""

    taken_at: datetime
    webhook_backlog: int
    prices_heard_at: datetime
    events_unpriced: int


class MetricsPage:
    """Answers `GET /metrics`."""

    def __init__(
        self,
        store: Store,
        *,
        pricing: Pricing,
        followed: Mapping[str, str],
        token: str,
        now: Callable[[], datetime],
        gateway: Gateway | None,
        worker: Worker | None,
    ) -> None:
        self._store = store
        self._pricing = pricing
        self._followed = followed
        self.token = token
        self._now = now
        self._gateway = gateway
        self._worker = worker
        self._figures: StoreFigures | None = None
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    async def __call__(self, scope: RsgiScope, proto: RsgiProto) -> None:
        """Serve one request."""
        try:
            await self._check(scope.headers.get("authorization"))
        except Unauthenticated as error:
            refused = {"error": {"code": error.code, "message": error.sentence}}
            headers = [("content-type", "application/json"), ("www-authenticate", "Bearer")]
            proto.response_bytes(401, headers, msgspec.json.encode(refused))
            return
        await self._read_figures()
        encode, content_type = choose_encoder(scope.headers.get("accept") or "")
        proto.response_bytes(200, [("content-type", content_type)], encode(self._registry))

    async def _check(self, authorization: str | None) -> None:
        scheme, _, secret = (authorization or "").partition(" ")
        secret = secret.strip()
        if scheme.lower() == "bearer" and secret:
            if self.token and hmac.compare_digest(secret.encode(), self.token.encode()):
                return
            digest = hashlib.sha256(secret.encode()).hexdigest()
            try:
                key = await self._store.read(lambda tx: tx.find_by_lookup(ApiKey, digest))
            except Unavailable:
                key = None  # Only the settings' token is known without the store.
            if key is not None and not key.customer and key.revoked_at is None:
                return
        raise MetricsKeyInvalid("Metrics need a bearer token.")

    async def _read_figures(self) -> None:
        """Read the database's figures, unless they are fresh; a store that is away leaves them out."""
        now = self._now()
        if self._figures and (now - self._figures.taken_at).total_seconds() < FIGURES_KEPT_S:
            return
        try:
            self._figures = await self._store.read(lambda tx: self._read(tx, now))
        except Unavailable:
            self._figures = None

    def _read(self, tx: Tx, now: datetime) -> StoreFigures:
        fresh = freshness_of(tx, self._pricing.catalogue, followed=self._followed, at=now)
        taken = datetime.combine(fresh.taken_on, time(), tzinfo=UTC)
        return StoreFigures(
            taken_at=now,
            webhook_backlog=tx.count_pending_deliveries(),
            prices_heard_at=max(taken, fresh.heard_at or taken),
            events_unpriced=sum(known.waiting for known in every(tx, UnpricedModel)),
        )

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of costplus as it stands."""
        yield InfoMetricFamily("costplus_build", "The running version.", value={"version": __version__})
        if self._gateway is not None:
            yield from _calls(self._gateway.tally)
            yield from _gateway(self._gateway)
        if self._worker is not None:
            yield from _books(self._worker)
        figures = self._figures
        yield _gauge("costplus_store_up", "Whether the database answered.", int(figures is not None))
        if figures is not None:
            yield _gauge(
                "costplus_webhook_backlog", "Deliveries that wait for an endpoint.", figures.webhook_backlog
            )
            yield _gauge(
                "costplus_price_age_seconds",
                "Since prices were last heard of from any source.",
                (self._now() - figures.prices_heard_at).total_seconds(),
            )
            yield _gauge("costplus_events_unpriced", "Usage that waits for a price.", figures.events_unpriced)


def _calls(tally: CallTally) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "costplus_requests",
        "Requests to the gateway by the status that was answered; 499: the client left before.",
        labels=("provider", "model", "endpoint", "status"),
    )
    for (provider, model, endpoint, status), count in list(tally.requests.items()):
        requests.add_metric((provider, model, endpoint, str(status)), count)
    yield requests
    refusals = CounterMetricFamily(
        "costplus_refusals", "Requests that the gateway refused, by its code.", labels=("code",)
    )
    for code, count in list(tally.refusals.items()):
        refusals.add_metric((code,), count)
    yield refusals
    by_model = ("provider", "model")
    tokens = CounterMetricFamily(
        "costplus_tokens", "Metered units by token type.", labels=(*by_model, "type")
    )
    cost = CounterMetricFamily("costplus_cost_usd", "What calls cost at the providers.", labels=by_model)
    revenue = CounterMetricFamily("costplus_revenue_usd", "What calls were charged.", labels=by_model)
    estimated = CounterMetricFamily(
        "costplus_estimated_calls", "Calls whose usage was estimated.", labels=by_model
    )
    for names, model_tally in list(tally.models.items()):
        for leaf, quantity in model_tally.tokens.items():
            tokens.add_metric((*names, leaf), quantity)
        cost.add_metric(names, model_tally.cost_nano / NANO)
        revenue.add_metric(names, model_tally.price_nano / NANO)
        estimated.add_metric(names, model_tally.estimated_calls)
    yield from (tokens, cost, revenue, estimated)
    yield _histogram(
        "costplus_gateway_overhead_seconds",
        "What the gateway itself took: from the request until the provider is asked, and for accounting.",
        {"": tally.overhead},
    )
    yield _histogram(
        "costplus_ttft_seconds",
        "From the provider being asked to the first piece of a stream.",
        tally.first_piece,
    )
    yield _histogram(
        "costplus_upstream_seconds", "From the provider being asked to the answer's end.", tally.duration
    )


def _gateway(gateway: Gateway) -> Iterator[Metric]:
    journal, leases = gateway.journal, gateway.leases.reserved()
    yield _gauge("costplus_calls_in_flight", "Requests under way.", gateway.proxy.in_flight)
    yield _gauge("costplus_draining", "Whether the process is stopping.", int(gateway.proxy.draining))
    yield _gauge(
        "costplus_events_unbilled", "Calls measured that are not in the books yet.", gateway.settler.backlog
    )
    yield _gauge("costplus_journal_bytes", "Size of the journal on disk.", journal.size_bytes)
    yield _gauge("costplus_journal_open_calls", "Calls that the journal still needs.", journal.open_calls)
    yield _gauge("costplus_leases", "Leases of customers' credit.", leases.count)
    yield _gauge(
        "costplus_leases_free_usd", "Credit that is reserved and held by no call.", leases.free_nano / NANO
    )
    names = ("provider", "state")
    pools = GaugeMetricFamily(
        "costplus_upstream_connections",
        "Connections to a provider, and calls that wait for one.",
        labels=names,
    )
    for name, load in gateway.providers.loads().items():
        for state, count in (("busy", load.busy), ("idle", load.idle), ("waiting", load.waiting)):
            pools.add_metric((name, state), count)
    yield pools


def _books(worker: Worker) -> Iterator[Metric]:
    drift = worker.drift
    yield _gauge(
        "costplus_ledger_drift",
        "Accounts and transactions that did not agree when their part of the ledger was last looked at.",
        drift.findings,
    )
    checked = CounterMetricFamily(
        "costplus_ledger_buckets_checked", "Parts of the ledger (1024) that were looked at."
    )
    checked.add_metric((), drift.looked_at)
    yield checked


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _histogram(name: str, text: str, spreads: Mapping[str, Spread]) -> Metric:
    """Return a histogram, by provider where the spreads are."""
    is_by_provider = "" not in spreads
    family = HistogramMetricFamily(name, text, labels=("provider",) if is_by_provider else ())
    for provider, spread in list(spreads.items()):
        buckets: list[tuple[str, float]] = []
        count = 0
        for limit, within in zip((*map(str, spread.limits_s), "+Inf"), spread.counts, strict=True):
            count += within
            buckets.append((limit, count))
        family.add_metric((provider,) if is_by_provider else (), buckets, sum_value=spread.sum_s)
    return family
