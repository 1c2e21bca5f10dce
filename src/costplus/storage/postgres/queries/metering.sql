-- :name known_keys
-- An id follows from its event's time and key, so a known id is found here as well. Between the ids of 35 days
-- before the first and after the last event there are few partitions.
SELECT e.customer, e.key, e.at
FROM unnest($1::text::integer[], $2::text::text[], $3::text::text[]) AS w (bucket, customer, key)
JOIN usage_events e USING (bucket, customer, key)
WHERE e.id >= $4 AND e.id < $5

-- :name find_event
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events WHERE bucket = $1 AND customer = $2 AND id = $3

-- :name find_event_by_key
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events WHERE bucket = $1 AND customer = $2 AND key = $3 ORDER BY at DESC LIMIT 1

-- :name events_between
-- Ids begin with the event's millisecond, so the key itself finds the stretch of time.
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events
WHERE bucket = $1 AND customer = $2 AND id >= $3 AND id < $4
    AND at >= $5 AND at < $6 AND ($7::text IS NULL OR meter = $7)
ORDER BY at, id LIMIT $8

-- :name reported_as
-- One look into each month's index of meter events.
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events
WHERE key = $1 AND source IN ('meter_events_v1', 'meter_events_v2') ORDER BY at DESC, id DESC
