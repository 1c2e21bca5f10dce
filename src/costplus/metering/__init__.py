"""Who used what, when, counted once.

Owns: usage events and their identity, meters, the translation of reported payloads into events.
Does not own: what usage is worth (`rating`), balances (`ledger`).
Words: meter, usage event, idempotency key, feed.
Invariants: an event is kept once whatever is retried; nothing that was accepted is dropped.
"""
