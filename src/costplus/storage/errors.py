"""What can go wrong in a store that is nobody's mistake in a verb.

Rule 1: an adapter raises these and its verbs' own errors, never its driver's for an expected condition.
"""

from __future__ import annotations

from costplus.core.errors import BillingError, Conflict, Unavailable


class StorageUnavailable(Unavailable):
    """The database did not take the write, or is closed; nothing of it was kept."""

    code = "storage_unavailable"
    remedy = "Nothing was kept; try again."


class DatabaseLocked(Unavailable):
    """Another process is writing to the database file and does not let go."""

    code = "database_locked"
    remedy = "Stop the other process, or give this one a database of its own."


class DriverMissing(Unavailable):
    """The database needs a driver that is not installed."""

    code = "database_driver_missing"
    remedy = "Install it: pip install 'costplus[postgres]'."


class SchemaTooNew(BillingError):
    """The database was written by a newer version of this program."""

    code = "schema_too_new"
    remedy = "Upgrade costplus, or open a backup from before the upgrade."


class LookupTaken(Conflict):
    """Another record of the kind has this second unique key."""

    code = "lookup_taken"
    remedy = "Use the record that has it, or choose another key."
