"""The resources: one module each, which reads parameters, calls the verbs below and returns records.

Owns: paths and parameters of every resource, each module's `ENDPOINTS`.
Does not own: how records look (`web.objects`), HTTP itself (`web.kernel`), what happens (`billing`).
Words: resource, endpoint, handler.
Invariants: a handler is a plain function of an open transaction and a call; it reads its parameters before
it changes anything, and takes the customer's lock before it reads what it will change.
"""
