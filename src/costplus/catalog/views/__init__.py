"""What each source states, under the catalogue's own names: one module and one function per source.

Owns: whose models a source's names mean; which of a source's figures can be believed at all.
Does not own: the grammar of price keys (`feeds`), fetching (`sources`), comparing sources and deciding.
Words: view, statement, left out.
Invariants: pure; a name means a model exactly or by declaration; a zero is no price unless the offer is free;
what is not stated is counted by its reason, and a document of an unknown form is refused as a whole.
"""
