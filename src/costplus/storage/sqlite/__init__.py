"""The default store: one SQLite file, one writer thread with group commit, readers on snapshots.

Owns: the connections and their threads, the schema, the named queries.
Does not own: how nouns become rows (`storage.codec`).
Words: batch, savepoint, snapshot, pragma.
Invariants: a verb's result is returned after the fsync of its commit; verbs of one batch succeed or fail
alone, unless the commit itself fails; only the writer thread ever writes.
"""

from costplus.storage.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
