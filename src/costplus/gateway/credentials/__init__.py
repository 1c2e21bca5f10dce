"""Credentials: how a provider is shown who calls it, worked out for each request right before it is sent.

Owns: what a credential consists of (`Credential`), what each scheme makes of it for one request (a key in a
header, Amazon's signature, a token that is fetched and renewed).
Does not own: whose credential a call is made with (`gateway.providers`), where it is kept.
Words: a *credential* is what is configured, an *authorizer* what makes headers of it, a *token* what is got
for it and expires.
Invariants: no secret is in a message, a log line or a representation; a token is asked for by one call while
the others wait for it, and renewed before it expires; what fails here was never sent to the provider.
"""
