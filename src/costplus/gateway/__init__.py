"""The AI gateway: a call goes through, its usage is metered, its credit held and captured.

Owns: the dialects' endpoints, admission, forwarding, the journal, settling what calls used.
Does not own: what usage is worth (`rating`), how it is booked (`billing`), the merchant's API (`web`).
Words: dialect, admission, call, sending, lane, attempt, upstream, journal, intent, settle, sweep.
Invariants: an intent is journalled before the provider is called, its usage before the answer is complete;
every call ends settled, voided or swept to an estimate, never forgotten; a refusal changes nothing; nothing
is asked of another lane once the client was sent something.
"""
