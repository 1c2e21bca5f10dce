"""`/v1/token_billing/pricing_plans/{id}/zero_credit`: what happens to a plan's customers without credit."""

from __future__ import annotations

from dataclasses import replace

from costplus.billing.customer import OnZeroCredit
from costplus.billing.plan import NoSuchPlan, Plan
from costplus.billing.store import Tx
from costplus.web.call import Call, post


def change(tx: Tx, call: Call) -> Plan:
    """Set whether a plan's customers are blocked or run into overage; empty leaves it to the account."""
    plan = tx.find(Plan, call.path["id"])
    if plan is None:
        raise NoSuchPlan(f"No such pricing plan: '{call.path['id']}'", param="id")
    wanted: OnZeroCredit | None = call.params.choice("on_zero_credit", ("block", "overage"))
    plan = replace(plan, on_zero_credit=wanted)
    tx.save(plan)
    tx.touch("config")
    return plan


ENDPOINTS = (post("/v1/token_billing/pricing_plans/{id}/zero_credit", change),)
