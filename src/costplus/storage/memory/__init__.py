"""A store in this process's memory: for tests, and for a first look that leaves no file behind.

Owns: tables as dictionaries, an undo log that makes a failing verb leave nothing.
Does not own: durability; all of it is gone when the process ends.
Words: table, undo.
Invariants: what a read returns is what `storage.sqlite` would return; the contract tests hold them equal.
"""

from costplus.storage.memory.store import MemoryStore

__all__ = ["MemoryStore"]
