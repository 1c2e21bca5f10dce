"""What models cost: dated price versions and the names they go by.

Owns: price versions and their components, the bundled snapshot, name resolution, what public price lists say
and which of their changes are believed.
Does not own: what customers pay (`rating`), what was used (`metering`).
Words: price version, component, condition, provider, model, alias, source, statement, view, move, change.
Invariants: a price version never changes; names resolve exactly or by declared alias, never by likeness; no
single list changes a price by more than double, and none in a moment.
"""
