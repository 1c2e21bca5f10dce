"""Public price lists, each read losslessly into the catalogue's own words.

Owns: the grammar of every source's price keys, units and conditions; what of a source is not expressible.
Does not own: fetching a source, trusting it or comparing it with others (`catalog.sync` and its nouns).
Words: feed, stated price, meter, unmapped key.
Invariants: pure; figures stay exact; every price key becomes a component, a multiplier, an allowance, or is
named in `unmapped`; nothing is dropped in silence.
"""
