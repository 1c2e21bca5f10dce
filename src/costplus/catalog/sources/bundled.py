"""The price snapshot that ships with the package: what a first run without a network bills from.

Rule 1: the file is made by `scripts/build_price_snapshot.py` and never edited by hand.
"""

from __future__ import annotations

from importlib import resources

from costplus.catalog.catalogue import Catalogue
from costplus.catalog.snapshot import Snapshot, decode_snapshot


def bundled_body() -> bytes:
    """Return the packaged snapshot as it is written."""
    return resources.files("costplus.catalog").joinpath("bundled_prices.json").read_bytes()


def bundled_snapshot() -> Snapshot:
    """Read and validate the packaged snapshot."""
    return decode_snapshot(bundled_body())


def bundled_catalogue() -> Catalogue:
    """Return the catalogue of the packaged snapshot."""
    return Catalogue(bundled_snapshot())
