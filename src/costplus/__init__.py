"""costplus: bill customers for LLM tokens at provider cost plus a markup."""

__version__ = "0.1.0"
