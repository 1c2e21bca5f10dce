"""A simulated provider on a real socket: the upstream of development, tests and benchmarks.

Owns: the providers' wire shapes as they answer, deterministic usage, injected faults, replay of recorded
exchanges, and the tally of what was really reported, to hold a bill against.
Does not own: reading usage out of answers (`gateway/wire`), prices, keys that mean anything.
Words: ask (a request, read), directive (`[[tokens=150]]`), counts (the tokens an answer reports), dialect
(one provider's wire), fault (a provider-shaped refusal), exchange (one recorded request and answer), tally.
Invariants: the same request reports the same usage; what the tally calls reported was put on the wire;
an answer is text of its own making or a recording, never a model's.
"""
