"""Serve: one process, one port, the roles that were asked for; drained on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import uvloop
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.log import LogLevels
from granian.server.embed import Server

from costplus import bootstrap, database
from costplus.billing.price_current import keep_current
from costplus.billing.store import Store
from costplus.bootstrap import Gateway, Web
from costplus.config import Settings, SettingsInvalid
from costplus.core.errors import Unavailable
from costplus.gateway.models import PATHS as MODEL_PATHS
from costplus.gateway.rsgi_asgi import AsgiOverRsgi
from costplus.metrics import PATH as METRICS_PATH
from costplus.metrics import MetricsPage
from costplus.payments import start_payments
from costplus.rating.pricing import Pricing
from costplus.reload import Reloader
from costplus.web.webhooks import Dispatcher
from costplus.worker import Worker

# The server's own notices stay out of the log; its errors do not.
_QUIET: dict[str, Any] = {
    "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
    "formatters": {},
    "loggers": {"_granian": {"handlers": ["console"], "level": "ERROR", "propagate": False}},
}
READY_POLL_S = 0.01
LOOK_AGAIN_S = 1
GC_THRESHOLDS = (20_000, 20, 20)
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})

log = structlog.get_logger("costplus.serve")


class PortTaken(Unavailable):
    """Another process listens on the port."""

    code = "port_taken"
    remedy = "Stop it, or choose another --port."


class Root:
    """Sends each request to the gateway or to the web application."""

    def __init__(self, gateway: Gateway | None, web: Web | None, metrics: MetricsPage) -> None:
        self._metrics = metrics
        self._proxy = gateway.proxy if gateway else None
        self._models = gateway.models if gateway else None
        self._web = AsgiOverRsgi(web.app) if web else None

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        """Serve one request."""
        path = scope.path
        if path in HEALTH_PATHS:
            self._health(path, proto)
        elif self._proxy is not None and self._proxy.handles(path):
            await self._proxy(scope, proto)
        elif self._models is not None and path in MODEL_PATHS and scope.method == "GET":
            await self._models(scope, proto)
        elif path == METRICS_PATH and scope.method == "GET":
            await self._metrics(scope, proto)
        elif self._web is not None:
            await self._web(scope, proto)
        else:
            body = b'{"error":{"message":"This process serves the gateway only.","code":"endpoint_unknown"}}'
            proto.response_bytes(404, [("content-type", "application/json")], body)

    def _health(self, path: str, proto: Any) -> None:
        """Say that the process lives, and whether new calls should be sent to it."""
        draining = self._proxy is not None and self._proxy.draining
        ready = path == "/healthz" or not draining
        body = b'{"status":"ok"}' if ready else b'{"status":"draining"}'
        proto.response_bytes(200 if ready else 503, [("content-type", "application/json")], body)


def run(
    settings: Settings,
    *,
    on_ready: Callable[[str, str | None], None],
    load: Callable[[], Settings] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. `on_ready` gets the URL and, once, a new API key's secret.

    On SIGHUP the settings are read again by `load`.
    """
    uvloop.run(_until_signal(settings, on_ready, load or (lambda: settings)))


async def _until_signal(
    settings: Settings, on_ready: Callable[[str, str | None], None], load: Callable[[], Settings]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop=stop, on_ready=on_ready, load=load)


class Roles:
    """What this process does: any of gateway, web (the API and the pages) and worker."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._background: list[asyncio.Task[None]] = []
        self._worker: Worker | None = None
        self._dispatcher: Dispatcher | None = None
        self._pricing: Pricing | None = None
        self.gateway: Gateway | None = None
        self.web: Web | None = None

    async def start(self, *, url: str) -> None:
        """Start the roles that the settings ask for."""
        settings, store, now = self._settings, self._store, bootstrap.real_now
        pricing = self._pricing = await bootstrap.open_prices(store, at=now())
        if settings.role in ("all", "gateway"):
            self.gateway = await bootstrap.start_gateway(settings, store, pricing, now)
        payments = start_payments(settings, store, now, base_url=url)
        web = bootstrap.start_web(
            settings, store, pricing, self.gateway, now, base_url=url, collector=payments.collector
        )
        if settings.role in ("all", "api"):
            self.web = web
        if settings.role in ("all", "worker"):
            self._worker = Worker(
                store,
                now=now,
                pricing=pricing,
                prices=bootstrap.price_sync(settings, store, pricing, now),
                prices_every_s=settings.prices.every_s,
                collector=payments.collector,
                fake=payments.fake,
            )
            self._dispatcher = web.dispatcher
            self._background += [
                asyncio.create_task(self._worker.run()),
                asyncio.create_task(self._dispatcher.run()),
            ]
        self._background.append(asyncio.create_task(self._look_again()))

    async def _look_again(self) -> None:
        """Every second, look for what other processes committed: nobody tells this one.

        Where one process does everything, only the price book is written by others too, and what follows
        from it: by the command line.
        """
        assert self._pricing is not None
        is_alone = self._settings.role == "all"
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            try:
                moved = await keep_current(self._store, self._pricing)
            except Unavailable as error:
                log.warning("prices_not_loaded", code=error.code, message=error.message)
                continue
            if is_alone and not moved:
                continue
            if self.gateway is not None:
                self.gateway.directory.forget()
                self.gateway.book.forget()
            if self.web is not None:
                self.web.keys.forget()
            if self._dispatcher is not None:
                self._dispatcher.wake()

    def metrics(self) -> MetricsPage:
        """Return the page of metrics about what this process does."""
        assert self._pricing is not None
        return MetricsPage(
            self._store,
            pricing=self._pricing,
            followed=self._settings.prices.followed,
            token=self._settings.metrics_token,
            now=bootstrap.real_now,
            gateway=self.gateway,
            worker=self._worker,
        )

    @property
    def vital(self) -> list[asyncio.Task[None]]:
        """The tasks without which the process must not look alive."""
        return [*self._background, *(self.gateway.tasks if self.gateway else ())]

    async def stop(self, *, drain_s: int) -> None:
        """Drain the gateway, then let the worker finish what it is at."""
        if self.gateway is not None:
            await self.gateway.stop(drain_s=drain_s)
        self._background.pop().cancel()
        if self._worker is not None and self._dispatcher is not None:
            self._worker.stop()
            self._dispatcher.stop()
        await asyncio.gather(*self._background, return_exceptions=True)


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[str, str | None], None],
    load: Callable[[], Settings],
) -> None:
    """Serve until `stop` is set; then drain, settle and let go of everything, in that order."""
    allow_open_files()
    port = _free_port(settings.host, settings.port)
    url = settings.public_url.rstrip("/") or settings.url_at(port)
    certificate = tls_files(settings)
    store = await database.open_store(settings)
    made_key = await bootstrap.ensure_key(store, settings.secret_key, at=bootstrap.real_now())
    roles = Roles(settings, store)
    await roles.start(url=url)
    metrics = roles.metrics()
    reloader = Reloader(settings, load=load, gateway=roles.gateway, metrics=metrics)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.reload)
    server = Server(
        Root(roles.gateway, roles.web, metrics),
        address=settings.host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.auto,
        websockets=False,
        backlog=2048,
        backpressure=16_384,
        log_level=LogLevels.error,
        log_dictconfig=_QUIET,
        ssl_cert=certificate[0] if certificate else None,
        ssl_key=certificate[1] if certificate else None,
        ssl_protocol_min=SSLProtocols.tls12,
    )
    serving = asyncio.create_task(server.serve())
    await _accepting(settings.host, port, serving)
    leave_alone_what_stays()
    on_ready(url, made_key)
    stopping = asyncio.create_task(stop.wait())
    vital = [serving, *roles.vital]
    await asyncio.wait((stopping, *vital), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    broken = [task for task in vital if task.done() and not task.cancelled() and task.exception()]
    await roles.stop(drain_s=reloader.settings.gateway.drain_s)
    server.stop()  # type: ignore[no-untyped-call]  # granian's embedded server has no annotations here.
    await asyncio.wait((serving,), timeout=5)
    await store.close()
    for task in broken:  # A process that cannot settle, close or deliver must not look alive.
        task.result()


def tls_files(settings: Settings) -> tuple[Path, Path] | None:
    """Return the files of the certificate and its key, None for plain HTTP; or raise `SettingsInvalid`."""
    if not settings.tls_cert and not settings.tls_key:
        return None
    if not (settings.tls_cert and settings.tls_key):
        raise SettingsInvalid("TLS needs both tls_cert and tls_key.")
    cert, key = Path(settings.tls_cert).expanduser(), Path(settings.tls_key).expanduser()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError.
        raise SettingsInvalid(f"TLS cannot be used with {cert} and {key}: {error}.") from error
    return cert, key


def leave_alone_what_stays() -> None:
    """Take what was loaded at the start out of the garbage collector's sight, and let it look less often.

    A full collection over modules, prices and sheets is a pause that every open call would feel.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def allow_open_files() -> None:
    """Raise the limit of open files to what the system allows: a stream takes two, its client's and ours."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # Some systems allow less than they say.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _free_port(host: str, port: int) -> int:
    """Return the port to listen on (0 picks one), or raise `PortTaken`.

    The server shares ports (SO_REUSEPORT), so a second process would go unnoticed without this.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(f"Port {port} of {host} cannot be used: {error.strerror}.") from error
        return int(probe.getsockname()[1])


async def _accepting(host: str, port: int, serving: asyncio.Task[None]) -> None:
    """Wait until connections are accepted; where the server ended instead, say what it said."""
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while True:
        if serving.done():
            await serving
            raise PortTaken(f"The server on port {port} ended as it began.")
        try:
            _, writer = await asyncio.open_connection(target, port)
        except OSError:
            await asyncio.sleep(READY_POLL_S)
            continue
        writer.close()
        return
