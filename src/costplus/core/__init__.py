"""What every floor above speaks: exact money, token leaves, ids, periods and the error tree.

Owns: the rounding rules, the leaf registry, the id formats, calendar arithmetic, `BillingError`.
Does not own: prices (`catalog`), who used what (`metering`), balances (`ledger`).
Words: leaf, quantity, nano, minor unit, period.
Invariants: pure (no clock, no I/O); money is an integer of nanos or an exact `Fraction`, never a float.
"""
