"""Who pays for what, and when: customers, plans, subscriptions, invoices, alerts, set-up.

Owns: the verbs that join metering, rating and ledger in one transaction; periods, invoices, events.
Does not own: HTTP (`web`, `gateway`), storage engines (`storage`).
Words: customer, plan, subscription, terms, settlement, true-up, invoice, invoice line, alert, event,
test clock.
Invariants: an event, its charge and its postings commit together or not at all; an invoice's lines add up to
its total; an alert fires once per crossing; every change that someone may wait for is announced as an event.
"""
