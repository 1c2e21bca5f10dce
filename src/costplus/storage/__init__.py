"""Where everything is kept: adapters of the port `billing.store`, one package each.

Owns: transactions, snapshots, durability, roll-ups, schemas and their migrations, named queries.
Does not own: any decision about money (`ledger`, `billing`); verbs decide, a store remembers.
Words: adapter, verb, group commit, snapshot, migration, roll-up, bucket.
Invariants: a verb's writes are all kept or none; a result is returned only once it is durable; every
adapter passes the same contract tests; amounts beyond 64 bits are errors, never wrapped.
"""
