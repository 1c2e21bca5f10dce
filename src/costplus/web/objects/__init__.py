"""How records look on the wire: Stripe's objects where Stripe has them, `token_billing.…` where it does not.

Owns: the shape of every object, the names of its fields, times as Unix seconds (v1) or RFC 3339 (v2).
Does not own: lists and envelopes (`web.kernel`), what the figures are (`billing`).
Words: object, view.
Invariants: pure; an object of Stripe's fits the official SDK's own field lists; minor units are rounded
down, exact figures are decimal text in currency units.
"""

from costplus.web.objects.registry import API_VERSION, event_object, object_of
from costplus.web.objects.thin_event import notification_object, thin_event_object
from costplus.web.objects.wire import View, unix

__all__ = [
    "API_VERSION",
    "View",
    "event_object",
    "notification_object",
    "object_of",
    "thin_event_object",
    "unix",
]
