"""What one transaction knows of the books: balances, grants and holds as they were read and changed in it.

Rule 1: what was read or saved here once is not asked of the database again; what was changed waits for the
end of the transaction, or for a query that could miss it.
Rule 2: nothing here outlives its transaction; where that is undone, it is cleared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from costplus.ledger.balance import Balance
from costplus.ledger.grant import Grant
from costplus.ledger.hold import Hold
from costplus.ledger.transaction import Transaction

HoldKey = tuple[str, str]  # (customer, id)


class Books:
    """Kept by an adapter beside its open transaction."""

    def __init__(self) -> None:
        self.balances: dict[str, Balance] = {}
        self.grants: dict[str, Grant] = {}
        self.holds: dict[HoldKey, Hold] = {}
        self.appended: dict[HoldKey, Transaction] = {}  # Transactions that wait, by customer and id.
        self.live: dict[str, dict[str, Grant]] = {}  # Customer → its live grants by id, oldest first.
        self._changed_balances: dict[str, None] = {}
        self._changed_grants: dict[str, None] = {}
        self._changed_holds: dict[HoldKey, None] = {}

    def clear(self) -> None:
        """Forget everything."""
        for kept in (self.balances, self.grants, self.holds, self.appended, self.live):
            kept.clear()
        self._changed_balances, self._changed_grants, self._changed_holds = {}, {}, {}

    def change_balance(self, balance: Balance) -> None:
        self.balances[balance.customer] = balance
        self._changed_balances[balance.customer] = None

    def change_grant(self, grant: Grant) -> None:
        self.grants[grant.id] = grant
        self._changed_grants[grant.id] = None
        live = self.live.get(grant.customer)
        if live is not None and grant.id in live:
            live[grant.id] = grant
        else:
            self.live.pop(grant.customer, None)  # Its place among the others is the database's to say.

    def change_hold(self, hold: Hold) -> None:
        self.holds[hold.customer, hold.id] = hold
        self._changed_holds[hold.customer, hold.id] = None

    def know_live(self, customer: str, grants: Iterable[Grant]) -> None:
        """Note what the database has of the customer's live grants, oldest first; nothing of them waits."""
        live = self.live[customer] = {grant.id: grant for grant in grants}
        self.grants.update(live)

    def live_of(self, customer: str) -> Sequence[Grant] | None:
        """Return the customer's live grants, oldest first, or None where they are to be read."""
        live = self.live.get(customer)
        if live is None:
            return None
        return [
            grant
            for grant in live.values()
            if grant.remaining_nano > 0 and grant.voided_at is None and grant.expired_at is None
        ]

    def take_balances(self) -> list[Balance]:
        """Return the changed balances, which wait no more."""
        changed, self._changed_balances = self._changed_balances, {}
        return [self.balances[customer] for customer in changed]

    def take_grants(self) -> list[Grant]:
        """Return the changed grants in the order of their first change; they wait no more."""
        changed, self._changed_grants = self._changed_grants, {}
        return [self.grants[id] for id in changed]

    def take_holds(self) -> list[Hold]:
        """Return the changed holds, which wait no more."""
        changed, self._changed_holds = self._changed_holds, {}
        return [self.holds[key] for key in changed]

    def take_appended(self) -> list[Transaction]:
        """Return the appended transactions in their order; they wait no more."""
        appended, self.appended = self.appended, {}
        return list(appended.values())
