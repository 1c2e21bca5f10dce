"""The commands that pages offer to copy: each does one step with nothing but curl."""

from __future__ import annotations

import shlex

KEY = "$SECRET_KEY"  # The reader's own: keys are stored hashed, so no page can show one.


def _post(base_url: str, path: str, **fields: str) -> str:
    lines = [f"curl {base_url}{path}", f'-u "{KEY}:"', *(f"-d '{name}={v}'" for name, v in fields.items())]
    return " \\\n  ".join(lines)


def set_up(base_url: str) -> str:
    return _post(base_url, "/v1/token_billing/onboarding/init", default_markup_percent="30")


def provider_key() -> str:
    return "export OPENAI_API_KEY=sk-…   # or another provider's, then start costplus again"


def create_customer(base_url: str) -> str:
    return _post(base_url, "/v1/customers", name="Ada", email="ada@example.com")


def grant_credit(base_url: str, customer: str) -> str:
    return _post(
        base_url,
        "/v1/billing/credit_grants",
        **{
            "customer": customer,
            "category": "paid",
            "amount[type]": "monetary",
            "amount[monetary][currency]": "usd",
            "amount[monetary][value]": "1000",
            "applicability_config[scope][price_type]": "metered",
        },
    )


def call(base_url: str, customer: str = "cus_…") -> str:
    body = '{"model": "openai/gpt-4.1-mini", "messages": [{"role": "user", "content": "Hello!"}]}'
    lines = [
        f"curl {base_url}/v1/chat/completions",
        f'-H "Authorization: Bearer {KEY}"',
        f'-H "X-Stripe-Customer-ID: {customer}"',
        "-H 'Content-Type: application/json'",
        f"-d '{body}'",
    ]
    return " \\\n  ".join(lines)


def create_endpoint(base_url: str) -> str:
    return _post(
        base_url,
        "/v1/webhook_endpoints",
        **{"url": "https://example.com/webhooks", "enabled_events[]": "*"},
    )


def approve_price(change: str) -> str:
    return f"costplus prices approve {change}"


def own_price(model: str) -> str:
    name = shlex.quote(model)  # Callers choose model names: none may end the word and begin a command.
    return f"costplus prices override {name} input=… output=… --new-model"


def adopt_prices(base_url: str, card: str) -> str:
    return _post(base_url, f"/v1/token_billing/rate_cards/{card}/adopt", all="true", mode="migrate_all")


def preview_invoice(base_url: str, customer: str = "cus_…") -> str:
    return _post(base_url, "/v1/invoices/create_preview", customer=customer)
