"""What all tests share.

Rule 1: an inexact decimal operation is an error everywhere; only the two rounding functions round.
Hypothesis' `decimals()` divides, so give it `places=` (or draw integers and shift them).
Rule 2: property tests are the same on every run, so a red build can be repeated.
Rule 3: absent shared data skips a test with its reason; it never passes it.
Rule 4: no test reaches the internet: what a test starts follows no public price list.
"""

from __future__ import annotations

import decimal
import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

os.environ["COSTPLUS_PRICES__SYNC"] = "false"

# New threads copy DefaultContext; this thread, and the event loops it starts, use the current context.
decimal.DefaultContext.traps[decimal.Inexact] = True
decimal.getcontext().traps[decimal.Inexact] = True

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the directory of recorded test data: `$COSTPLUS_SHARED/data`, or beside the repository."""
    directory = Path(os.environ.get("COSTPLUS_SHARED", ROOT.parent / "shared")) / "data"
    if not directory.is_dir():
        pytest.skip(f"shared data absent: {directory} is not a directory (set COSTPLUS_SHARED)")
    return directory
