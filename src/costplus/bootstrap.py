"""Put the process together: the only place that picks adapters and joins the wings.

settings → store, prices → gateway (journal, leases, settler, proxy) │ web (API, pages, dispatcher)
         → worker → one server on one port
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from costplus import __version__
from costplus.billing.collector import Collector
from costplus.billing.customer import ApiKey
from costplus.billing.event import Event, Payload
from costplus.billing.price_sync import PriceSync
from costplus.billing.store import Store, Tx
from costplus.billing.vault import Vault
from costplus.catalog.book import BOOK, PriceBase
from costplus.catalog.load import begin_book, catalogue_of
from costplus.catalog.sources.archive import Archive
from costplus.catalog.statement import SourceName
from costplus.catalog.survey import Policy
from costplus.config import GatewaySettings, Settings
from costplus.core.errors import Unavailable
from costplus.core.ids import new_id
from costplus.gateway.admit import Admitter
from costplus.gateway.attempt import RetryPolicy
from costplus.gateway.call_log import CallLog
from costplus.gateway.directory import Directory
from costplus.gateway.forward import Forwarder
from costplus.gateway.health import Health
from costplus.gateway.journal import Journal
from costplus.gateway.leases import Leases
from costplus.gateway.models import ModelList
from costplus.gateway.providers import Providers
from costplus.gateway.proxy import Proxy
from costplus.gateway.recover import recover
from costplus.gateway.rsgi_asgi import AsgiApp
from costplus.gateway.settle import Settler
from costplus.gateway.tally import CallTally
from costplus.observe import Telemetry, open_telemetry
from costplus.provider_book import ProviderBook, check_own, check_provider
from costplus.provider_settings import providers_of, routes_of
from costplus.rating.pricing import Pricing
from costplus.web.addresses import address_policy
from costplus.web.app import build_app
from costplus.web.auth import KeyRing
from costplus.web.context import WebContext
from costplus.web.login import LoginTokens, login_token
from costplus.web.objects import event_object, notification_object
from costplus.web.pages import routes
from costplus.web.webhooks import Dispatcher

T = TypeVar("T")
BOOTSTRAP_KEY = "bootstrap"
LEASE_SWEEP_S = 1
CUT_S = 5  # How long a call may take to account for itself once its provider is cut off.
SETTLE_S = 30  # How long a stop waits for a store that is away.

log = structlog.get_logger("costplus.bootstrap")


def real_now() -> datetime:
    """Return the present: the one clock of the process."""
    return datetime.now(UTC)


def link_secret(settings: Settings) -> bytes:
    """Return what signs links and sessions: from the encryption key, or made once in the data directory."""
    if settings.encryption_key:
        return hashlib.sha256(b"costplus links\x00" + settings.encryption_key.encode()).digest()
    path = settings.data_path / "link.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return bytes.fromhex(path.read_text().strip())


def key_record(secret: str, *, name: str, at: datetime, customer: str = "") -> ApiKey:
    """Return the record of an API key; the secret itself is not in it."""
    return ApiKey(
        id=new_id("key", at=at),
        created=at,
        digest=hashlib.sha256(secret.encode()).hexdigest(),
        name=name,
        customer=customer,
        hint=secret[-4:],
        livemode=secret.startswith("sk_live_"),
    )


async def ensure_key(store: Store, secret: str, *, at: datetime) -> str | None:
    """See to it that a merchant key exists; return a new one's secret, which is shown this once.

    A key from the settings replaces the one that the settings gave before.
    """
    if not secret:
        known = await store.read(lambda tx: any(not k.customer for k in tx.page(ApiKey, limit=1000)))
        if known:
            return None
    made = secret or f"sk_test_{secrets.token_urlsafe(24)}"
    record = key_record(made, name=BOOTSTRAP_KEY, at=at)

    def verb(tx: Tx) -> None:
        if tx.find_by_lookup(ApiKey, record.digest) is not None:
            return
        for key in tx.page(ApiKey, limit=1000):
            if key.name == BOOTSTRAP_KEY and not key.customer:
                tx.remove(ApiKey, key.id)
        tx.save(record)
        tx.touch("config")

    await store.write(verb)
    return None if secret else made


@dataclass(slots=True, kw_only=True)
class Gateway:
    """The gateway's parts in one process."""

    proxy: Proxy
    admitter: Admitter
    forwarder: Forwarder
    call_log: CallLog
    directory: Directory
    models: ModelList
    journal: Journal
    settler: Settler
    leases: Leases
    providers: Providers
    tally: CallTally
    telemetry: Telemetry | None
    book: ProviderBook
    health: Health  # Of the lanes that calls go by.
    tasks: list[asyncio.Task[None]]

    def adjust(self, settings: GatewaySettings) -> None:
        """Go by these limits and habits from the next call on."""
        self.proxy.body_bytes_max, self.proxy.calls_max = settings.body_bytes_max, settings.calls_max
        self.proxy.body_timeout_s = settings.body_timeout_s
        self.admitter.output_tokens_default = settings.output_tokens_default
        self.admitter.stored_state = settings.stored_state
        self.forwarder.fsync, self.forwarder.money_headers = settings.fsync, settings.money_headers
        self.forwarder.abandoned_s = settings.abandoned_s
        self.forwarder.retries = RetryPolicy(
            attempts_max=settings.attempts_max, within_s=settings.retry_within_s
        )
        self.call_log.calls, self.call_log.bodies = settings.log_calls, settings.log_bodies
        self.proxy.keeps_answers = self.call_log.keeps_answers

    async def stop(self, *, drain_s: int) -> None:
        """Let open calls finish, cut those that do not, settle what they used, give credit back."""
        self.proxy.draining = True
        if not await _ends_within(drain_s, self.proxy.drained()):
            log.warning("drain_timeout", after_s=drain_s)
        await self.providers.aclose()  # A call that is still open ends here, and is accounted for.
        await _ends_within(CUT_S, self.proxy.drained())
        self.settler.stop()
        settling, *others = self.tasks
        for task in others:
            task.cancel()
        if not await _ends_within(SETTLE_S, asyncio.wait((settling,))):
            settling.cancel()  # The store is away; the journal keeps what is left for the next start.
            log.warning("settlement_left_to_the_journal", waiting=self.settler.backlog)
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.leases.give_back_all()
        self.journal.close()
        if self.telemetry is not None:
            sending = threading.Thread(target=self.telemetry.close, daemon=True)
            sending.start()
            await asyncio.to_thread(sending.join, CUT_S)  # The process does not wait for one that is away.


async def _ends_within(limit_s: int, something: Awaitable[object]) -> bool:
    """Wait for something, but not for longer; return whether it ended."""
    try:
        async with asyncio.timeout(limit_s):
            await something
    except TimeoutError:
        return False
    return True


async def start_gateway(
    settings: Settings, store: Store, pricing: Pricing, now: Callable[[], datetime]
) -> Gateway:
    """Open the journal, settle what an earlier process left, and be ready for calls."""
    folder = settings.data_path / "journal"
    journal = Journal(folder)
    owner = _owner(folder / "owner")
    settler = Settler(store, journal, now=now, parked=settings.data_path / "parked-usage.jsonl")
    tasks = [asyncio.create_task(settler.run())]
    recovered = await recover(store, journal, settler, pricing=pricing, owner=owner, now=now)
    if recovered.used or recovered.swept:
        log.info("recovered", used=recovered.used, swept=recovered.swept, released=recovered.released)
    providers = Providers(providers_of(settings), now=now)
    book = ProviderBook(settings, store, Vault(link_secret(settings)), providers)
    await book.refresh()
    leases = Leases(store, owner=owner, now=now, settled=settler.flush)
    directory = Directory(store, now=now)
    admitter = Admitter(
        directory=directory,
        providers=providers,
        pricing=pricing,
        leases=leases,
        journal=journal,
        keys=book,
        now=now,
        routes=routes_of(settings),
    )
    health = Health(clock=time.monotonic)
    forwarder = Forwarder(
        journal=journal,
        settler=settler,
        pricing=pricing,
        health=health,
        leases=leases,
    )
    tally = CallTally()
    telemetry = open_telemetry(os.environ)
    call_log = CallLog(calls=settings.gateway.log_calls, bodies=settings.gateway.log_bodies)
    proxy = Proxy(
        admitter=admitter,
        forwarder=forwarder,
        providers=providers,
        now=now,
        body_bytes_max=settings.gateway.body_bytes_max,
        watchers=(tally, call_log, *([telemetry] if telemetry else [])),
        keys=book,
    )
    tasks.append(asyncio.create_task(_sweep(leases, journal)))
    models = ModelList(directory=directory, pricing=pricing, providers=providers, keys=book, now=now)
    gateway = Gateway(
        proxy=proxy,
        admitter=admitter,
        forwarder=forwarder,
        call_log=call_log,
        directory=directory,
        models=models,
        journal=journal,
        settler=settler,
        leases=leases,
        providers=providers,
        tally=tally,
        telemetry=telemetry,
        book=book,
        health=health,
        tasks=tasks,
    )
    gateway.adjust(settings.gateway)
    return gateway


def _owner(path: Path) -> str:
    """Return the name under which this journal's process reserves credit, the same after a restart."""
    if not path.exists():
        path.write_text(f"gw_{secrets.token_hex(8)}")
    return path.read_text().strip()


async def _sweep(leases: Leases, journal: Journal) -> None:
    """Give idle credit back and push the journal to the disk, every second."""
    while True:
        await asyncio.sleep(LEASE_SWEEP_S)
        try:
            await leases.give_back_idle()
            await journal.sync()
        except Unavailable as error:
            log.error("sweep_failed", code=error.code, message=error.message)


@dataclass(slots=True, kw_only=True)
class Web:
    """The API, the pages and the webhook dispatcher in one process."""

    app: AsgiApp
    keys: KeyRing
    dispatcher: Dispatcher


def start_web(
    settings: Settings,
    store: Store,
    pricing: Pricing,
    gateway: Gateway | None,
    now: Callable[[], datetime],
    *,
    base_url: str,
    collector: Collector | None = None,
) -> Web:
    """Build the merchant's API and the pages."""

    async def nothing_queued() -> None:
        return

    livemode = settings.secret_key.startswith("sk_live_")
    context = WebContext(
        store=store,
        pricing=pricing,
        now=now,
        base_url=base_url,
        livemode=livemode,
        flush=gateway.settler.flush if gateway else nothing_queued,
        link_secret=link_secret(settings),
        price_sources=settings.prices.followed,
        addresses=address_policy(
            settings.webhook_allow,
            private=settings.webhook_allow_private,
            loopback=not livemode,  # Whoever tries things out listens on the same machine.
        ),
        payments=collector,
        vault=Vault(link_secret(settings)),
        check_provider=partial(check_provider, settings),
        check_own=partial(check_own, settings),
    )

    def render(event: Event, payload: Payload) -> bytes:
        if payload == "thin":
            return msgspec.json.encode(notification_object(event, livemode=livemode))
        shown = event_object(
            event,
            livemode=livemode,
            pending_webhooks=1,
            base_url=base_url,
            link_secret=context.link_secret,
        )
        return msgspec.json.encode(shown)

    tokens = LoginTokens(context.link_secret, now=now)
    pages = routes(
        context,
        tokens,
        provider_names=lambda: list(gateway.providers.names if gateway else settings.providers),
    )
    dispatcher = Dispatcher(
        store=store,
        render=render,
        now=now,
        policy=context.addresses,
        timeout_s=settings.webhook_timeout_s,
        user_agent=f"costplus/{__version__}",
    )
    app = build_app(context, extra_routes=pages)
    return Web(app=app, keys=app.state.keys, dispatcher=dispatcher)


def admin_url(settings: Settings, *, base_url: str) -> str:
    """Return a link that logs in to the admin pages once."""
    return f"{base_url}/admin/login?token={login_token(link_secret(settings), at=real_now())}"


async def open_prices(store: Store, *, at: datetime) -> Pricing:
    """Return the prices of the book; the first start begins it with the packaged snapshot."""
    if await store.read(lambda tx: tx.find(PriceBase, BOOK)) is None:
        await store.write(lambda tx: begin_book(tx, at=at))
    return Pricing(await store.read(catalogue_of))


def price_sync(settings: Settings, store: Store, pricing: Pricing, now: Callable[[], datetime]) -> PriceSync:
    """Return what synchronises prices from the sources that the settings follow."""
    return PriceSync(
        store,
        pricing,
        followed=settings.prices.followed,
        archive=Archive(settings.data_path / "prices"),
        now=now,
        providers=[entry.catalog or name for name, entry in settings.providers.items()],
        policy=Policy(
            trust={name: tuple(map(SourceName, order)) for name, order in settings.prices.trust.items()},
            protect_margin=settings.prices.protect_margin,
        ),
    )
