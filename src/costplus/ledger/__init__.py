"""Balances that move: double entry, credit grants, holds and leases.

Owns: accounts, transactions and postings, grants and their burn order, holds, zero crossings.
Does not own: why an amount is owed (`rating`), invoices (`billing`).
Words: posting, transaction, grant, burn, hold, lease, capture, owed, carried, crossing.
Invariants: a transaction's postings sum to zero; nothing is changed, only added to; no interleaving can
spend the same credit twice; a capture above its hold is booked as owed, never given away.
"""
