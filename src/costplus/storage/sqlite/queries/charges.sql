-- :name add_unit_rate
INSERT INTO unit_rates (
    id, provider, model, leaf, priced_as, above_prompt_tokens, unit_cost, unit_price, adjustment_kind,
    adjustment_percent, price_version, rate_card_version, conditions, basis_version,
    waived, list_price
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :name find_unit_rate
SELECT id, provider, model, leaf, priced_as, above_prompt_tokens, unit_cost, unit_price, adjustment_kind,
    adjustment_percent, price_version, rate_card_version, conditions, basis_version, waived, list_price
FROM unit_rates WHERE id = ?

-- :name append_charge
INSERT INTO charges (bucket, customer, event_id, billed_at, price_nano, cost_nano, lines, unpriced, txn)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :name add_to_units
INSERT INTO rollup_units (bucket, customer, hour, unit_rate_id, quantity, events) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (bucket, customer, hour, unit_rate_id) DO UPDATE SET
    quantity = quantity + excluded.quantity, events = events + excluded.events

-- :name add_to_totals
INSERT INTO rollup_totals (bucket, customer, hour, provider, model, events, price_nano, cost_nano)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (bucket, customer, hour, provider, model) DO UPDATE SET
    events = events + excluded.events, price_nano = price_nano + excluded.price_nano,
    cost_nano = cost_nano + excluded.cost_nano

-- :name find_metered
SELECT units, price_nano FROM metered WHERE bucket = ? AND customer = ? AND meter = ? AND period_start = ?

-- :name add_to_metered
INSERT INTO metered (bucket, customer, meter, period_start, units, price_nano) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (bucket, customer, meter, period_start) DO UPDATE SET
    units = units + excluded.units, price_nano = price_nano + excluded.price_nano

-- :name find_charge
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM charges c JOIN usage_events e
    ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id
WHERE c.bucket = ? AND c.customer = ? AND c.event_id = ?

-- :name charges_latest
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM charges c CROSS JOIN usage_events e
    ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id
WHERE c.event_id < ? ORDER BY c.event_id DESC LIMIT ?

-- :name charges_latest_of_customer
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM charges c CROSS JOIN usage_events e
    ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id
WHERE c.bucket = ? AND c.customer = ? AND c.event_id < ? ORDER BY c.event_id DESC LIMIT ?

-- :name charges_billed_between
SELECT price_nano, lines FROM charges
WHERE bucket = ? AND customer = ? AND billed_at >= ? AND billed_at < ?

-- :name units_between
-- A sum could pass 64 bits: its high and low halves cannot.
SELECT unit_rate_id, sum(quantity / 1000000000), sum(quantity % 1000000000) FROM rollup_units
WHERE bucket = ? AND customer = ? AND hour >= ? AND hour < ? GROUP BY unit_rate_id

-- :name price_between
SELECT sum(price_nano / 1000000000), sum(price_nano % 1000000000) FROM rollup_totals
WHERE bucket = ? AND customer = ? AND hour >= ? AND hour < ?

-- :name model_totals
SELECT provider, model, sum(events), sum(price_nano / 1000000000), sum(price_nano % 1000000000),
    sum(cost_nano / 1000000000), sum(cost_nano % 1000000000)
FROM rollup_totals WHERE hour >= ? AND hour < ? GROUP BY provider, model

-- :name model_totals_of_customer
SELECT provider, model, sum(events), sum(price_nano / 1000000000), sum(price_nano % 1000000000),
    sum(cost_nano / 1000000000), sum(cost_nano % 1000000000)
FROM rollup_totals WHERE bucket = ? AND customer = ? AND hour >= ? AND hour < ? GROUP BY provider, model

-- :name waived_units
SELECT r.id, sum(u.quantity / 1000000000), sum(u.quantity % 1000000000)
FROM unit_rates r CROSS JOIN rollup_units u ON u.unit_rate_id = r.id
WHERE r.waived <> '' AND u.hour >= ? AND u.hour < ? GROUP BY r.id ORDER BY r.id

-- :name waived_units_of_customer
SELECT r.id, sum(u.quantity / 1000000000), sum(u.quantity % 1000000000)
FROM unit_rates r CROSS JOIN rollup_units u ON u.unit_rate_id = r.id
WHERE r.waived <> '' AND u.hour >= ? AND u.hour < ? AND u.bucket = ? AND u.customer = ?
GROUP BY r.id ORDER BY r.id

-- :name charges_between
-- Ids begin with the event's millisecond, so the key itself finds the stretch of time.
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM usage_events e CROSS JOIN charges c
    ON c.bucket = e.bucket AND c.customer = e.customer AND c.event_id = e.id
WHERE e.bucket = :bucket AND e.customer = :customer AND e.id >= :first_id AND e.id < :last_id
    AND e.id > :after AND e.at >= :start AND e.at < :end
ORDER BY e.id LIMIT :limit

-- :name users_since
SELECT DISTINCT customer FROM rollup_totals WHERE hour >= ? ORDER BY customer

-- :name users_of_model_since
SELECT DISTINCT u.customer FROM unit_rates r CROSS JOIN rollup_units u ON u.unit_rate_id = r.id
WHERE r.provider = ? AND r.model = ? AND u.hour >= ? ORDER BY u.customer

-- :name unpaired
SELECT id FROM usage_events AS e WHERE e.bucket = :bucket AND e.customer = :customer AND NOT EXISTS (
    SELECT 1 FROM charges AS c WHERE c.bucket = e.bucket AND c.customer = e.customer AND c.event_id = e.id
)
UNION ALL
SELECT event_id FROM charges AS c WHERE c.bucket = :bucket AND c.customer = :customer AND NOT EXISTS (
    SELECT 1 FROM usage_events AS e
    WHERE e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id
)
ORDER BY 1

-- :name spent_between
-- Ids begin with the event's millisecond, so the key itself finds the stretch of time.
SELECT count(*), sum(c.price_nano / 1000000000), sum(c.price_nano % 1000000000)
FROM usage_events e CROSS JOIN charges c
    ON c.bucket = e.bucket AND c.customer = e.customer AND c.event_id = e.id
WHERE e.bucket = :bucket AND e.customer = :customer AND e.id >= :first_id AND e.id < :last_id
    AND e.at >= :start AND e.at < :end AND (:model = '' OR (e.provider = :provider AND e.model = :model))
    AND (:api_key = '' OR e.api_key = :api_key)

-- :name spent_billed_between
SELECT count(*), sum(c.price_nano / 1000000000), sum(c.price_nano % 1000000000)
FROM charges c CROSS JOIN usage_events e
    ON c.bucket = e.bucket AND c.customer = e.customer AND c.event_id = e.id
WHERE c.bucket = :bucket AND c.customer = :customer AND c.billed_at >= :start AND c.billed_at < :end
    AND (:model = '' OR (e.provider = :provider AND e.model = :model))
    AND (:api_key = '' OR e.api_key = :api_key)
