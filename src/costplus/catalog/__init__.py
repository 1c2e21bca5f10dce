"""What models cost: dated price versions and the names they go by.

Owns: price versions and their components, the bundled snapshot, name resolution.
Does not own: what customers pay (`rating`), what was used (`metering`).
Words: price version, component, condition, provider, model, alias.
Invariants: a price version never changes; names resolve exactly or by declared alias, never by likeness.
"""
