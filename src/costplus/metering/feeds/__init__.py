"""Feeds: what partners and SDKs report, translated into usage events; one module per format.

Owns: names of fields and token types of each format, the checks that need nothing but the payload.
Does not own: whether customer and meter exist (who calls looks them up), keeping or rating the event.
Words: feed, payload, token type, identifier.
Invariants: pure; what cannot be read is refused with a permanent code, never read as zero.
"""
