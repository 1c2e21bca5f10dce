-- :name save_delivery
INSERT INTO deliveries
    (id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    event = excluded.event, endpoint = excluded.endpoint, due_at = excluded.due_at,
    attempts = excluded.attempts, status = excluded.status, response_status = excluded.response_status,
    error = excluded.error, delivered_at = excluded.delivered_at

-- :name due_deliveries
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at
FROM deliveries WHERE status = 'pending' AND due_at <= ? ORDER BY due_at, seq LIMIT ?

-- :name deliveries_of
SELECT id, event, endpoint, due_at, attempts, status, response_status, error, delivered_at
FROM deliveries WHERE event = ? ORDER BY seq

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
