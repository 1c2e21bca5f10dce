-- :name known_keys
-- An id follows from its event's time and key, so a known id is found here as well.
SELECT customer, key, at FROM usage_events
WHERE bucket = ? AND customer = ? AND key IN (SELECT value FROM json_each(?))

-- :name known_keys_of
SELECT e.customer, e.key, e.at FROM json_each(?) AS asked CROSS JOIN usage_events AS e
    ON e.bucket = json_extract(asked.value, '$[0]') AND e.customer = json_extract(asked.value, '$[1]')
    AND e.key = json_extract(asked.value, '$[2]')

-- :name times_of_key
SELECT customer, key, at FROM usage_events WHERE bucket = ? AND customer = ? AND key = ?

-- :name append_event
INSERT INTO usage_events (
    bucket, customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage,
    request_id, service_tier, reported_cost, circumstances, api_key
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :name find_event
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events WHERE bucket = ? AND customer = ? AND id = ?

-- :name find_event_by_key
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events WHERE bucket = ? AND customer = ? AND key = ? ORDER BY at DESC LIMIT 1

-- :name events_between
-- Ids begin with the event's millisecond, so the key itself finds the stretch of time.
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events
WHERE bucket = :bucket AND customer = :customer AND id >= :first_id AND id < :last_id
    AND at >= :start AND at < :end AND (:meter IS NULL OR meter = :meter)
ORDER BY at, id LIMIT :limit

-- :name reported_as
SELECT customer, id, at, key, meter, provider, model, requested_model, usage, source, raw_usage, request_id,
    service_tier, reported_cost, circumstances, api_key
FROM usage_events
WHERE key = ? AND source IN ('meter_events_v1', 'meter_events_v2') ORDER BY at DESC, id DESC
