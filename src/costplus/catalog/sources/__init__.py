"""Where prices come from: each module reads one source and returns it in the catalogue's words.

Owns: reading and decoding a source (the packaged snapshot; later the public feeds).
Does not own: what a price means (`price`), which one applies (`snapshot`), whether to trust a change.
Words: source, snapshot, release.
Invariants: figures stay exact from the source's text to `Decimal`; reading a source changes nothing.
"""
