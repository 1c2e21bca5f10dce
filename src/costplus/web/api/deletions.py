"""What deleting a customer takes with it."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.close import close_account
from costplus.billing.customer import ApiKey, Customer
from costplus.billing.provider_key import CustomerProviderKey
from costplus.billing.store import Tx
from costplus.web.call import Call

KEYS_MAX = 1000


def delete_customer(tx: Tx, call: Call, customer: Customer) -> None:
    """Invoice what the customer used, end its subscription, revoke its keys; what was billed stays.

    Its own keys at providers are forgotten.
    """
    at = call.present(tx, customer.id)
    close_account(tx, customer, at=at)
    for key in tx.page(ApiKey, parent=customer.id, limit=KEYS_MAX):
        if key.revoked_at is None:
            tx.save(replace(key, revoked_at=call.at))
    for brought in tx.page(CustomerProviderKey, parent=customer.id, limit=KEYS_MAX):
        tx.remove(CustomerProviderKey, brought.id)
    tx.save(replace(customer, deleted=True))
    tx.touch("config")
    call.announce(tx, "customer.deleted", customer, at=at)
