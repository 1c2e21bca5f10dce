"""Payments: money that customers send, through whoever moves it.

Owns: the payment port, payments and their attempts, payment methods, callbacks, refunds.
Does not own: what is paid for (`billing.invoice`, `billing.top_up`), the ledger it is booked in (`ledger`).
Words: payment, attempt, charge (the provider's own, by its name), outcome, notice, method, held, surplus.
Invariants: a provider is asked outside of transactions, under a key that makes asking again harmless; money
is counted once per charge; what does not fit its payment never becomes credit.
"""
