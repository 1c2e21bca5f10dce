"""Translation: a caller speaks one dialect, the provider of its model another.

Owns: what a request of one dialect says (a `Conversation`), how each dialect says it, and the same for the
answers (`Reply`, and its `Piece`s in a stream), without doing any I/O.
Does not own: metering (`gateway.wire` reads the provider's own bytes), paths and keys (`gateway.providers`),
refusals of our own (`gateway.dialect`).
Words: *chat* is OpenAI's chat completions, *messages* Anthropic's, *generate* Gemini's, *converse* Bedrock's;
to *read* is to come from a dialect, to *write* to go to one.
Invariants: what the other dialect cannot express is refused by its name in the caller's body before anything
is sent, never dropped; text, arguments of calls and opaque signatures go through unchanged, however the
stream was cut.

Adding a dialect is its request and reply modules, and one line in `registry`.
"""
