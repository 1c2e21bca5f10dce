"""The demo: everything set up with a simulated provider, then live calls being billed.

It uses nothing but the installed commands and the public API, as a newcomer would.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import httpx2

from costplus.bootstrap import admin_url
from costplus.config import load

MARKUP_PERCENT = "30"
CREDIT_MINOR = 500
MODELS = ("openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "openai/gpt-4.1")
ASKS = (
    "Name the moons of Mars. [[tokens=40]]",
    "Write a haiku. [[tokens=120]]",
    "Explain TCP. [[tokens=400]]",
)


def run(data_dir: Path, *, port: int, calls: int, once: bool, as_json: bool) -> int:
    """Run the demo and return the exit code."""
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, _stop)
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    merchant_key = f"sk_test_{secrets.token_urlsafe(18)}"
    with (
        _command("dev-provider", "--port", "0") as provider_url,
        _serving(data_dir, port, provider_url, merchant_key) as url,
        httpx2.Client(base_url=url, auth=(merchant_key, ""), timeout=30) as api,
    ):
        facts = _set_up(api)
        _show_facts(url, data_dir, facts, merchant_key, as_json=as_json)
        with httpx2.Client(base_url=url, headers=_bearer(facts["customer_key"]), timeout=30) as app:
            for number in range(calls):
                _show_call(_call(app, number), as_json=as_json)
        _show_balance(api, facts["customer"], as_json=as_json)
        if not once:
            _say("\nServing on. Press Ctrl-C to stop.", {"event": "serving"}, as_json=as_json)
            while True:
                signal.pause()
    return 0


def _stop(*_: object) -> None:
    """End the demo; the commands it started end with it."""
    raise SystemExit(0)


@contextmanager
def _command(*arguments: str, env: dict[str, str] | None = None) -> Iterator[str]:
    """Run a costplus command until the block ends; give the URL that it serves on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "costplus", *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        start_new_session=True,  # Ctrl-C reaches the demo, which stops its commands in order.
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "ready":
                yield str(event["url"])
                break
        else:
            raise click.ClickException(f"`costplus {arguments[0]}` did not start; see the messages above.")
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def _serving(data_dir: Path, port: int, provider_url: str, merchant_key: str) -> Iterator[str]:
    """Run the server against the simulated provider; where the port is taken, on a free one."""
    env = {
        "COSTPLUS_SECRET_KEY": merchant_key,
        "COSTPLUS_LOG_LEVEL": "warning",
        "COSTPLUS_PRICES__SYNC": "false",  # A demonstration needs no network.
        "COSTPLUS_PROVIDERS__OPENAI__BASE_URL": provider_url,
        "COSTPLUS_PROVIDERS__OPENAI__API_KEY": "simulated",
        "COSTPLUS_PROVIDERS__ANTHROPIC__BASE_URL": provider_url,
        "COSTPLUS_PROVIDERS__ANTHROPIC__API_KEY": "simulated",
    }
    arguments = ["serve", "--data-dir", str(data_dir), "--port"]
    with _command(*arguments, str(port if _is_free(port) else 0), env=env) as url:
        yield url


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _post(api: httpx2.Client, path: str, **fields: str) -> dict[str, Any]:
    answer = api.post(path, data=fields)
    if answer.status_code >= 400:
        raise click.ClickException(f"{path}: {answer.text}")
    body: dict[str, Any] = answer.json()
    return body


def _set_up(api: httpx2.Client) -> dict[str, str]:
    """Set pricing up, make a customer with credit and a key of its own."""
    setup = _post(
        api,
        "/v1/token_billing/onboarding/init",
        plan_name="Demo plan",
        default_markup_percent=MARKUP_PERCENT,
        credit_grant_per_period_amount="0",
    )
    customer = _post(api, "/v1/customers", name="Ada's App", email="ada@example.com")["id"]
    _post(api, f"/v1/token_billing/customers/{customer}", on_zero_credit="block")
    grant = {
        "amount[type]": "monetary",
        "amount[monetary][value]": str(CREDIT_MINOR),
        "amount[monetary][currency]": "usd",
        "applicability_config[scope][price_type]": "metered",
    }
    _post(api, "/v1/billing/credit_grants", customer=customer, name="Prepaid", **grant)
    key = _post(api, "/v1/token_billing/keys", customer=customer, name="demo")["secret"]
    return {
        "customer": customer,
        "customer_key": key,
        "plan": setup["resources"]["pricing_plan_id"],
    }


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _call(app: httpx2.Client, number: int) -> dict[str, Any]:
    """Make one call with the customer's key and return what it shows."""
    model, ask = MODELS[number % len(MODELS)], ASKS[number // len(MODELS) % len(ASKS)]
    path = "/v1/messages" if model.startswith("anthropic/") else "/v1/chat/completions"
    body = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": ask}]}
    began = time.perf_counter()
    answer = app.post(path, json=body)
    took_ms = (time.perf_counter() - began) * 1000
    usage = answer.json().get("usage", {})
    return {
        "event": "call",
        "status": answer.status_code,
        "model": model,
        "input": usage.get("prompt_tokens", usage.get("input_tokens")),
        "output": usage.get("completion_tokens", usage.get("output_tokens")),
        "held": answer.headers.get("costplus-held"),
        "charged": answer.headers.get("costplus-charged"),
        "ms": round(took_ms, 1),
    }


def _say(text: str, fields: dict[str, Any], *, as_json: bool) -> None:
    click.echo(json.dumps(fields) if as_json else text)


def _show_facts(url: str, data_dir: Path, facts: dict[str, str], merchant_key: str, *, as_json: bool) -> None:
    link = admin_url(load(flags={"data_dir": str(data_dir)}, environ={}), base_url=url)
    curl = (
        f"curl {url}/v1/chat/completions -H 'Authorization: Bearer {facts['customer_key']}' "
        """-H 'Content-Type: application/json' """
        """-d '{"model":"openai/gpt-4o-mini","messages":[{"role":"user","content":"Hello!"}]}'"""
    )
    fields = {
        "event": "ready",
        "url": url,
        "admin": link,
        "merchant_key": merchant_key,
        "curl": curl,
        **facts,
    }
    text = f"""costplus demo: provider cost + {MARKUP_PERCENT} %, a simulated provider, SQLite in {data_dir}

  Gateway        {url}/v1          (OpenAI's and Anthropic's SDKs: change the base URL)
  Merchant API   {url}             (Stripe's SDK: change the base address)
  Admin          {link}
  Merchant key   {merchant_key}
  Customer       {facts["customer"]} · $5.00 of credit, blocked at zero
  Customer key   {facts["customer_key"]}

  Try it:
  {curl}

  Live calls     tokens in → out      held before       charged after"""
    _say(text, fields, as_json=as_json)


def _show_call(call: dict[str, Any], *, as_json: bool) -> None:
    text = (
        f"  {call['model']:<28} {call['input']:>4} → {call['output']:<4}"
        f"  ${call['held'] or '-':<14}  ${call['charged'] or '-':<14} {call['ms']} ms"
    )
    _say(text, call, as_json=as_json)


def _show_balance(api: httpx2.Client, customer: str, *, as_json: bool) -> None:
    """Show what is left of the credit, and the running period's invoice as it would be now."""
    account = api.get(f"/v1/token_billing/customers/{customer}").json()
    credit = Decimal(account["balance"]["credit"])
    spent = Decimal(CREDIT_MINOR) / 100 - credit
    invoice = _post(api, "/v1/invoices/create_preview", customer=customer)
    usage, due = Decimal(invoice["subtotal"]) / 100, Decimal(invoice["amount_due"]) / 100
    lines = len(invoice["lines"]["data"])
    text = f"""
  Credit left ${credit}, spent ${spent}: every charge above is Σ tokens × price × 1.30, exact.
  The period's invoice so far: {lines} lines, ${usage:.2f} of usage paid by credit, ${due:.2f} due."""
    fields = {"event": "balance", "credit": str(credit), "spent": str(spent), "due": str(due)}
    _say(text, fields, as_json=as_json)
