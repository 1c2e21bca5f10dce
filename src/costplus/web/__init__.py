"""The control plane's HTTP: Stripe's wire where Stripe has an object, and our own resources.

Owns: authentication of the seller, parameters, envelopes, idempotent replies, lists, how records look on
the wire, webhooks and the hosted pages.
Does not own: what any of it means (`billing` and below), model calls (`gateway`), keeping it (`storage`).
Words: call, endpoint, listing, envelope, session token.
Invariants: a POST's effect and its stored reply are one transaction; a refused request changes nothing;
an unknown parameter is refused by name, never ignored; no secret is shown twice.
"""
