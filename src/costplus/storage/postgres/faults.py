"""Which of the driver's errors mean what.

Lost: the connection ended; before COMMIT was sent nothing was kept, and the verb may run again.
In the way: another transaction was; the verb runs again.
Refused: the server could not take it now, or not in time.
"""

from __future__ import annotations

import asyncpg

_LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
_IN_THE_WAY = (
    asyncpg.TransactionRollbackError,  # Deadlocks and failures to serialise among them.
    asyncpg.UniqueViolationError,  # Another process inserted it in the same moment.
    asyncpg.InvalidCachedStatementError,  # A newer program migrated the schema meanwhile.
    asyncpg.OutdatedSchemaCacheError,
)
_REFUSED = (
    TimeoutError,  # Running it again would take as long again.
    asyncpg.InsufficientResourcesError,  # A full disk, too little memory.
    asyncpg.PostgresSystemError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InsufficientPrivilegeError,
)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone."""
    return isinstance(error, _LOST)


def is_in_the_way(error: BaseException) -> bool:
    """Whether running the verb again may succeed."""
    return isinstance(error, _IN_THE_WAY)


def is_refused(error: BaseException) -> bool:
    """Whether the server could not do it now, whatever the verb did."""
    return isinstance(error, _REFUSED)


def is_too_large(error: asyncpg.DataError) -> bool:
    """Whether a number is beyond 64 bits, by the server's word or by the driver's."""
    return isinstance(error, asyncpg.NumericValueOutOfRangeError) or "out of int64" in str(error)
