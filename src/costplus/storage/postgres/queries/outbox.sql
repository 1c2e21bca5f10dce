-- :name save_deliveries
INSERT INTO deliveries (
    id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
)
SELECT * FROM unnest(
    $1::text::text[], $2::text::text[], $3::text::text[], $4::text::bigint[], $5::text::bigint[], $6::text::text[], $7::text::bigint[], $8::text::text[],
    $9::text::bigint[], $10::text::text[], $11::text::bigint[], $12::text::text[], $13::text::bytea[]
)
ON CONFLICT (id) DO UPDATE SET
    event = excluded.event, endpoint = excluded.endpoint, due_at = excluded.due_at,
    attempts = excluded.attempts, status = excluded.status, response_status = excluded.response_status,
    error = excluded.error, delivered_at = excluded.delivered_at, object = excluded.object,
    created = excluded.created, response_body = excluded.response_body, log = excluded.log

-- :name due_deliveries
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries WHERE status = 'pending' AND due_at <= $1 ORDER BY due_at, seq LIMIT $2

-- :name claim_deliveries
-- What another process is claiming at this moment is passed over.
WITH due AS (
    SELECT id, due_at, seq FROM deliveries
    WHERE status = 'pending' AND due_at <= $1 AND endpoint <> ALL ($4::text::text[])
    ORDER BY due_at, seq LIMIT $3 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE deliveries d SET due_at = $2 FROM due WHERE d.id = due.id
    RETURNING d.id, d.event, d.endpoint, d.due_at, d.attempts, d.status, d.response_status, d.error,
        d.delivered_at, d.object, d.created, d.response_body, d.log, due.due_at AS was_due_at, due.seq
)
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM claimed ORDER BY was_due_at, seq

-- :name find_delivery
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries WHERE id = $1

-- :name find_delivery_for_update
-- Two processes that each bring an outcome take turns, and the second one sees what the first has kept.
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries WHERE id = $1 FOR UPDATE

-- :name delivery_ahead
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE status = 'pending' AND endpoint = $1 AND object = $2 AND seq < (SELECT seq FROM deliveries WHERE id = $3)
    AND attempts < $4
ORDER BY seq LIMIT 1

-- :name seq_of_delivery
SELECT seq FROM deliveries WHERE id = $1

-- :name deliveries_latest
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > $1 AND seq < $2 AND ($4::text IS NULL OR status = $4)
ORDER BY seq DESC LIMIT $3

-- :name deliveries_after
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > $1 AND seq < $2 AND ($4::text IS NULL OR status = $4)
ORDER BY seq LIMIT $3

-- :name deliveries_latest_of_endpoint
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > $1 AND seq < $2 AND ($4::text IS NULL OR status = $4) AND endpoint = $5
ORDER BY seq DESC LIMIT $3

-- :name deliveries_after_of_endpoint
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > $1 AND seq < $2 AND ($4::text IS NULL OR status = $4) AND endpoint = $5
ORDER BY seq LIMIT $3

-- :name deliveries_latest_of_event
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > $1 AND seq < $2 AND ($4::text IS NULL OR status = $4) AND event = $5 AND ($6::text IS NULL OR endpoint = $6)
ORDER BY seq DESC LIMIT $3

-- :name deliveries_after_of_event
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > $1 AND seq < $2 AND ($4::text IS NULL OR status = $4) AND event = $5 AND ($6::text IS NULL OR endpoint = $6)
ORDER BY seq LIMIT $3

-- :name deliveries_of
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries WHERE event = $1 ORDER BY seq

-- :name count_pending_deliveries
SELECT count(*) FROM deliveries WHERE status = 'pending'

-- :name next_delivery_at
SELECT min(due_at) FROM deliveries WHERE status = 'pending'

-- :name find_reply
SELECT key, request_digest, status, body, created FROM replies WHERE key = $1

-- :name save_reply
INSERT INTO replies (key, request_digest, status, body, created) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key) DO UPDATE SET
    request_digest = excluded.request_digest, status = excluded.status, body = excluded.body,
    created = excluded.created

-- :name forget_replies
WITH forgotten AS (DELETE FROM replies WHERE created < $1 RETURNING 1) SELECT count(*) FROM forgotten

-- :name next_number
INSERT INTO numbers (series, value) VALUES ($1, 1)
ON CONFLICT (series) DO UPDATE SET value = numbers.value + 1 RETURNING value

-- :name lock_alone
SELECT pg_advisory_xact_lock($1)

-- :name lock_name
SELECT pg_advisory_xact_lock($1)

-- :name tell
SELECT pg_notify(channel, $2) FROM unnest($1::text::text[]) AS t (channel)
