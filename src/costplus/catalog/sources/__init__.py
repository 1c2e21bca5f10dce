"""Where prices come from: each module reads one source and returns it in the catalogue's words.

Owns: reading the packaged snapshot; which public lists there are, fetching them, keeping what came.
Does not own: what a list states (`views`), which price applies (`snapshot`), whether to trust a change.
Words: source, snapshot, release, revision, archive.
Invariants: figures stay exact from the source's text to `Decimal`; reading a source changes nothing.
"""
