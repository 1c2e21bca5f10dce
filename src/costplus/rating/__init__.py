"""What usage is worth: provider cost, and the customer's price for it.

Owns: rate cards and their versions, the rate sheet (prices × card), charges and their derivation, quotes;
how any quantity becomes an amount (price models), conversion of units, commitments, items.
Does not own: provider prices (`catalog`), balances (`ledger`), who pays when (`billing`).
Words: rate card, markup, margin, rate sheet, charge, quote, derivation, price model, tier, part, commitment,
item.
Invariants: pure and exact; one rounding, up, per event; price ≥ cost × (1 + markup) on every event;
what cannot be priced is said to be unpriced, never charged as zero.
"""
