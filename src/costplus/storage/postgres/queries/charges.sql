-- :name add_unit_rates
INSERT INTO unit_rates (
    id, provider, model, leaf, priced_as, above_prompt_tokens, unit_cost, unit_price, adjustment_kind,
    adjustment_percent, price_version, rate_card_version, conditions, basis_version, waived, list_price
)
SELECT * FROM unnest(
    $1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::text[], $6::text::bigint[], $7::text::text[], $8::text::text[], $9::text::text[],
    $10::text::text[], $11::text::text[], $12::text::text[], $13::text::text[], $14::text::text[], $15::text::text[], $16::text::text[]
)
ON CONFLICT (id) DO NOTHING RETURNING id

-- :name find_unit_rates
SELECT id, provider, model, leaf, priced_as, above_prompt_tokens, unit_cost, unit_price, adjustment_kind,
    adjustment_percent, price_version, rate_card_version, conditions, basis_version, waived, list_price
FROM unit_rates WHERE id = ANY ($1::text::text[])

-- :name add_to_units
INSERT INTO rollup_units (bucket, customer, hour, unit_rate_id, quantity, events)
SELECT * FROM unnest($1::text::integer[], $2::text::text[], $3::text::bigint[], $4::text::text[], $5::text::bigint[], $6::text::bigint[])
ON CONFLICT (bucket, customer, hour, unit_rate_id) DO UPDATE SET
    quantity = rollup_units.quantity + excluded.quantity, events = rollup_units.events + excluded.events

-- :name add_to_totals
INSERT INTO rollup_totals (bucket, customer, hour, provider, model, events, price_nano, cost_nano)
SELECT * FROM unnest(
    $1::text::integer[], $2::text::text[], $3::text::bigint[], $4::text::text[], $5::text::text[], $6::text::bigint[], $7::text::bigint[], $8::text::bigint[]
)
ON CONFLICT (bucket, customer, hour, provider, model) DO UPDATE SET
    events = rollup_totals.events + excluded.events,
    price_nano = rollup_totals.price_nano + excluded.price_nano,
    cost_nano = rollup_totals.cost_nano + excluded.cost_nano

-- :name find_metered
SELECT units, price_nano FROM metered
WHERE bucket = $1 AND customer = $2 AND meter = $3 AND period_start = $4

-- :name add_to_metered
INSERT INTO metered (bucket, customer, meter, period_start, units, price_nano)
SELECT * FROM unnest($1::text::integer[], $2::text::text[], $3::text::text[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[])
ON CONFLICT (bucket, customer, meter, period_start) DO UPDATE SET
    units = metered.units + excluded.units, price_nano = metered.price_nano + excluded.price_nano

-- :name find_charge
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM charges c JOIN usage_events e
    ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id
WHERE c.bucket = $1 AND c.customer = $2 AND c.event_id = $3 AND e.id = $3

-- :name charges_latest
WITH c AS MATERIALIZED (
    SELECT * FROM charges WHERE event_id < $1 ORDER BY event_id DESC LIMIT $2
)
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM c JOIN usage_events e
    ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id
ORDER BY c.event_id DESC

-- :name charges_latest_of_customer
WITH c AS MATERIALIZED (
    SELECT * FROM charges
    WHERE bucket = $3 AND customer = $4 AND event_id < $1 ORDER BY event_id DESC LIMIT $2
)
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM c JOIN usage_events e
    ON e.bucket = c.bucket AND e.customer = c.customer AND e.id = c.event_id
ORDER BY c.event_id DESC

-- :name charges_billed_between
-- Nothing is billed before it happened: later events' partitions are passed over.
SELECT price_nano, lines FROM charges
WHERE bucket = $1 AND customer = $2 AND billed_at >= $3 AND billed_at < $4 AND event_id < $5

-- :name units_between
SELECT unit_rate_id, sum(quantity) FROM rollup_units
WHERE bucket = $1 AND customer = $2 AND hour >= $3 AND hour < $4 GROUP BY unit_rate_id

-- :name price_between
SELECT coalesce(sum(price_nano), 0) FROM rollup_totals
WHERE bucket = $1 AND customer = $2 AND hour >= $3 AND hour < $4

-- :name model_totals
SELECT provider, model, sum(events), sum(price_nano), sum(cost_nano)
FROM rollup_totals WHERE hour >= $1 AND hour < $2 GROUP BY provider, model

-- :name model_totals_of_customer
SELECT provider, model, sum(events), sum(price_nano), sum(cost_nano)
FROM rollup_totals WHERE bucket = $3 AND customer = $4 AND hour >= $1 AND hour < $2 GROUP BY provider, model

-- :name charges_between
-- Ids begin with the event's millisecond, so the key itself finds the stretch of time.
WITH e AS MATERIALIZED (
    SELECT * FROM usage_events
    WHERE bucket = $1 AND customer = $2 AND id >= $3 AND id < $4 AND id > $5 AND at >= $6 AND at < $7
        AND EXISTS (
            SELECT FROM charges c
            WHERE c.bucket = $1 AND c.customer = $2 AND c.event_id = usage_events.id
        )
    ORDER BY id LIMIT $8
)
SELECT e.customer, e.id, e.at, e.key, e.meter, e.provider, e.model, e.requested_model, e.usage, e.source,
    e.raw_usage, e.request_id, e.service_tier, e.reported_cost, e.circumstances, e.api_key, c.billed_at,
    c.price_nano, c.cost_nano, c.lines, c.unpriced, c.txn
FROM e JOIN charges c ON c.bucket = $1 AND c.customer = $2 AND c.event_id = e.id
ORDER BY e.id

-- :name users_since
SELECT DISTINCT customer FROM rollup_totals WHERE hour >= $1 ORDER BY customer

-- :name users_of_model_since
SELECT DISTINCT u.customer FROM unit_rates r JOIN rollup_units u ON u.unit_rate_id = r.id
WHERE r.provider = $1 AND r.model = $2 AND u.hour >= $3 ORDER BY u.customer

-- :name waived_units
SELECT r.id, sum(u.quantity) FROM unit_rates r JOIN rollup_units u ON u.unit_rate_id = r.id
WHERE r.waived <> '' AND u.hour >= $1 AND u.hour < $2 GROUP BY r.id ORDER BY r.id

-- :name waived_units_of_customer
SELECT r.id, sum(u.quantity) FROM unit_rates r JOIN rollup_units u ON u.unit_rate_id = r.id
WHERE r.waived <> '' AND u.hour >= $1 AND u.hour < $2 AND u.bucket = $3 AND u.customer = $4
GROUP BY r.id ORDER BY r.id

-- :name spent_between
-- Ids begin with the event's millisecond, so the key itself finds the stretch of time.
SELECT count(*), coalesce(sum(c.price_nano), 0) FROM usage_events e JOIN charges c
    ON c.bucket = $1 AND c.customer = $2 AND c.event_id = e.id AND c.event_id >= $8 AND c.event_id < $9
WHERE e.bucket = $1 AND e.customer = $2 AND e.id >= $8 AND e.id < $9 AND e.at >= $3 AND e.at < $4
    AND ($6 = '' OR (e.provider = $5 AND e.model = $6)) AND ($7 = '' OR e.api_key = $7)

-- :name spent_billed_between
SELECT count(*), coalesce(sum(c.price_nano), 0) FROM charges c JOIN usage_events e
    ON e.bucket = $1 AND e.customer = $2 AND e.id = c.event_id AND e.id < $8
WHERE c.bucket = $1 AND c.customer = $2 AND c.billed_at >= $3 AND c.billed_at < $4 AND c.event_id < $8
    AND ($6 = '' OR (e.provider = $5 AND e.model = $6)) AND ($7 = '' OR e.api_key = $7)
