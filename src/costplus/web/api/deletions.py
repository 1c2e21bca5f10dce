"""What deleting a customer takes with it."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.customer import ApiKey, Customer
from costplus.billing.store import Tx
from costplus.billing.subscription import Subscription
from costplus.web.call import Call

KEYS_MAX = 1000


def delete_customer(tx: Tx, call: Call, customer: Customer) -> None:
    """Mark the customer deleted, end its subscription and revoke its keys; what was billed stays."""
    at = call.present(tx, customer.id)
    for subscription in tx.page(Subscription, parent=customer.id):
        if subscription.status == "active":
            tx.save(replace(subscription, status="canceled"))
    for key in tx.page(ApiKey, parent=customer.id, limit=KEYS_MAX):
        if key.revoked_at is None:
            tx.save(replace(key, revoked_at=call.at))
    tx.save(replace(customer, deleted=True))
    tx.touch("config")
    call.announce(tx, "customer.deleted", customer, at=at)
