-- :name save_delivery
INSERT INTO deliveries (
    id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    event = excluded.event, endpoint = excluded.endpoint, due_at = excluded.due_at,
    attempts = excluded.attempts, status = excluded.status, response_status = excluded.response_status,
    error = excluded.error, delivered_at = excluded.delivered_at, object = excluded.object,
    created = excluded.created, response_body = excluded.response_body, log = excluded.log

-- :name due_deliveries
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries WHERE status = 'pending' AND due_at <= ? ORDER BY due_at, seq LIMIT ?

-- :name claimable_deliveries
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE status = 'pending' AND due_at <= ? AND endpoint NOT IN (SELECT value FROM json_each(?))
ORDER BY due_at, seq LIMIT ?

-- :name claim_delivery
UPDATE deliveries SET due_at = ? WHERE id = ?

-- :name find_delivery
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries WHERE id = ?

-- :name delivery_ahead
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE status = 'pending' AND endpoint = ? AND object = ? AND seq < (SELECT seq FROM deliveries WHERE id = ?)
    AND attempts < ?
ORDER BY seq LIMIT 1

-- :name seq_of_delivery
SELECT seq FROM deliveries WHERE id = ?

-- :name deliveries_latest
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > :above AND seq < :below AND (:status IS NULL OR status = :status)
ORDER BY seq DESC LIMIT :limit

-- :name deliveries_after
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE seq > :above AND seq < :below AND (:status IS NULL OR status = :status)
ORDER BY seq LIMIT :limit

-- :name deliveries_latest_of_endpoint
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE endpoint = :endpoint AND seq > :above AND seq < :below AND (:status IS NULL OR status = :status)
ORDER BY seq DESC LIMIT :limit

-- :name deliveries_after_of_endpoint
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE endpoint = :endpoint AND seq > :above AND seq < :below AND (:status IS NULL OR status = :status)
ORDER BY seq LIMIT :limit

-- :name deliveries_latest_of_event
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE event = :event AND (:endpoint IS NULL OR endpoint = :endpoint) AND seq > :above AND seq < :below AND (:status IS NULL OR status = :status)
ORDER BY seq DESC LIMIT :limit

-- :name deliveries_after_of_event
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries
WHERE event = :event AND (:endpoint IS NULL OR endpoint = :endpoint) AND seq > :above AND seq < :below AND (:status IS NULL OR status = :status)
ORDER BY seq LIMIT :limit

-- :name deliveries_of
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at, object, created,
    response_body, log
FROM deliveries WHERE event = ? ORDER BY seq

-- :name count_pending_deliveries
SELECT count(*) FROM deliveries WHERE status = 'pending'

-- :name next_delivery_at
SELECT min(due_at) FROM deliveries WHERE status = 'pending'

-- :name find_reply
SELECT key, request_digest, status, body, created FROM replies WHERE key = ?

-- :name save_reply
INSERT OR REPLACE INTO replies (key, request_digest, status, body, created) VALUES (?, ?, ?, ?, ?)

-- :name forget_replies
DELETE FROM replies WHERE created < ?

-- :name next_number
INSERT INTO numbers (series, value) VALUES (?, 1)
ON CONFLICT (series) DO UPDATE SET value = value + 1 RETURNING value
