"""The store for several machines: one PostgreSQL database, verbs on threads, customers locked one by one.

Owns: the connections and their threads, locks, partitions, the schema, the named queries.
Does not own: how nouns become rows (`storage.codec`).
Words: session, try, sibling, flush, partition.
Invariants: a verb's result is returned after its COMMIT; a verb that another transaction was in the way of
runs again, and nothing of its earlier tries is kept; whoever changes a customer's rows holds its lock.
"""

from costplus.storage.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
