"""Reload: the settings file and the files of secrets are read again on SIGHUP, while calls go on.

Rule 1: settings that cannot be used change nothing; the log says what is wrong with them.
Rule 2: calls under way keep the provider that they began with; new ones get what is set now.
Rule 3: what a process is built upon (database, address, role, prices, webhooks, TLS) needs a restart, and the
log names it. Flags and the environment are those of the start.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from costplus import observe
from costplus.bootstrap import Gateway
from costplus.config import Settings, SettingsInvalid
from costplus.core.errors import BillingError
from costplus.metrics import MetricsPage
from costplus.provider_settings import providers_of, routes_of

LIVE = frozenset({"providers", "routes", "gateway", "log_level", "metrics_token"})

log = structlog.get_logger("costplus.reload")


class Reloader:
    """Brings new settings to a process that serves."""

    def __init__(
        self,
        settings: Settings,
        *,
        load: Callable[[], Settings],
        gateway: Gateway | None,
        metrics: MetricsPage,
    ) -> None:
        self.settings = settings
        self._load = load
        self._gateway = gateway
        self._metrics = metrics

    def reload(self) -> None:
        """Read the settings again and use what may change while calls go on."""
        try:
            settings = self._load()
            providers = providers_of(settings)
            if self._gateway is not None:
                self._gateway.book.reconfigure(settings)
                self._gateway.admitter.routes = routes_of(settings)
        except (BillingError, ValueError) as error:
            wrong = error if isinstance(error, BillingError) else SettingsInvalid(str(error))
            log.error("reload_refused", code=wrong.code, message=wrong.sentence)
            return
        observe.set_level(settings.log_level)
        self._metrics.token = settings.metrics_token
        if self._gateway is not None:
            self._gateway.adjust(settings.gateway)
        changed = _changed(self.settings, settings)
        if waiting := [name for name in changed if name not in LIVE]:
            log.warning("restart_needed", settings=waiting)
        # What needs a restart stays in mind as it is in use, so that every reload names it.
        live = {name: getattr(settings, name) for name in LIVE}
        self.settings = msgspec.structs.replace(self.settings, **live)
        log.info("reloaded", settings=changed, providers=sorted(providers))


def _changed(old: Settings, new: Settings) -> list[str]:
    """Return the names of the settings that differ."""
    return [name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name)]
