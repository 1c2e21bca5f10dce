-- :name find_balance
SELECT customer, held_nano, carried_nano, owed, fired, paid FROM balances WHERE bucket = ? AND customer = ?

-- :name save_balance
INSERT INTO balances (bucket, customer, held_nano, carried_nano, owed, fired, paid) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (bucket, customer) DO UPDATE SET
    held_nano = excluded.held_nano, carried_nano = excluded.carried_nano, owed = excluded.owed,
    fired = excluded.fired, paid = excluded.paid

-- :name balances_of
SELECT b.customer, b.held_nano, b.carried_nano, b.owed, b.fired, b.paid
FROM json_each(?) AS asked CROSS JOIN balances AS b
    ON b.bucket = json_extract(asked.value, '$[0]') AND b.customer = json_extract(asked.value, '$[1]')

-- :name places_of
SELECT coalesce((
        SELECT max(seq) FROM transactions AS t
        WHERE t.bucket = json_extract(asked.value, '$[0]') AND t.customer = json_extract(asked.value, '$[1]')
    ), 0),
    EXISTS (
        SELECT 1 FROM transactions AS t
        WHERE t.bucket = json_extract(asked.value, '$[0]') AND t.id = json_extract(asked.value, '$[2]')
    )
FROM json_each(?) AS asked ORDER BY asked.key

-- :name place_of
SELECT coalesce(max(seq), 0), EXISTS (SELECT 1 FROM transactions WHERE bucket = ? AND id = ?)
FROM transactions WHERE bucket = ? AND customer = ?

-- :name append_transaction
INSERT INTO transactions (bucket, customer, seq, id, at, kind, reference) VALUES (?, ?, ?, ?, ?, ?, ?)

-- :name append_posting
INSERT INTO postings (bucket, customer, seq, position, account, amount_nano) VALUES (?, ?, ?, ?, ?, ?)

-- :name find_account
SELECT balance_nano FROM accounts WHERE bucket = ? AND account = ?

-- :name move_account
INSERT INTO accounts (bucket, account, balance_nano) VALUES (?, ?, ?)
ON CONFLICT (bucket, account) DO UPDATE SET balance_nano = balance_nano + excluded.balance_nano

-- :name transactions_of
SELECT seq, id, at, kind, reference FROM transactions
WHERE bucket = ? AND customer = ?
    AND seq > coalesce((SELECT seq FROM transactions WHERE bucket = ? AND customer = ? AND id = ?), 0)
ORDER BY seq LIMIT ?

-- :name find_transaction
SELECT seq, id, at, kind, reference FROM transactions WHERE bucket = ? AND customer = ? AND id = ?

-- :name postings_of_one
SELECT account, amount_nano FROM postings WHERE bucket = ? AND customer = ? AND seq = ? ORDER BY position

-- :name postings_of
SELECT seq, account, amount_nano FROM postings
WHERE bucket = ? AND customer = ? AND seq BETWEEN ? AND ? ORDER BY seq, position

-- :name save_grant
INSERT INTO grants (
    bucket, customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount, seq
) VALUES (
    ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
    ? + coalesce((SELECT max(seq) FROM grants), 0)
)
ON CONFLICT (bucket, customer, id) DO UPDATE SET
    created = excluded.created, amount_nano = excluded.amount_nano, remaining_nano = excluded.remaining_nano,
    currency = excluded.currency, effective_at = excluded.effective_at, expires_at = excluded.expires_at,
    category = excluded.category, priority = excluded.priority, name = excluded.name,
    metadata = excluded.metadata, voided_at = excluded.voided_at, expired_at = excluded.expired_at,
    source = excluded.source, updated = excluded.updated, minor_amount = excluded.minor_amount,
    lapsed_nano = excluded.lapsed_nano, scope = excluded.scope, begun_at = excluded.begun_at, unit = excluded.unit,
    unit_amount = excluded.unit_amount

-- :name find_grant
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants WHERE id = ?

-- :name grants_of
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants WHERE bucket = ? AND customer = ? ORDER BY seq

-- :name live_grants
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants
WHERE bucket = ? AND customer = ? AND remaining_nano > 0 AND voided_at IS NULL AND expired_at IS NULL
ORDER BY seq

-- :name live_grants_of
SELECT g.customer, g.id, g.created, g.amount_nano, g.remaining_nano, g.currency, g.effective_at, g.expires_at,
    g.category, g.priority, g.name, g.metadata, g.voided_at, g.expired_at, g.source, g.updated,
    g.minor_amount, g.lapsed_nano, g.scope, g.begun_at, g.unit, g.unit_amount
FROM json_each(?) AS asked CROSS JOIN grants AS g
    ON g.bucket = json_extract(asked.value, '$[0]') AND g.customer = json_extract(asked.value, '$[1]')
WHERE g.remaining_nano > 0 AND g.voided_at IS NULL AND g.expired_at IS NULL
ORDER BY g.seq

-- :name grants_expiring
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants
WHERE expires_at <= ? AND expires_at IS NOT NULL
    AND remaining_nano > 0 AND voided_at IS NULL AND expired_at IS NULL
ORDER BY expires_at, seq LIMIT ?

-- :name seq_of_grant
SELECT seq FROM grants WHERE id = ?

-- :name grants_latest
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants WHERE seq > :above AND seq < :below ORDER BY seq DESC LIMIT :limit

-- :name grants_after
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants WHERE seq > :above AND seq < :below ORDER BY seq LIMIT :limit

-- :name grants_latest_of_customer
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants WHERE bucket = :bucket AND customer = :customer AND seq > :above AND seq < :below
ORDER BY seq DESC LIMIT :limit

-- :name grants_after_of_customer
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount, lapsed_nano, scope, begun_at,
    unit, unit_amount
FROM grants WHERE bucket = :bucket AND customer = :customer AND seq > :above AND seq < :below
ORDER BY seq LIMIT :limit

-- :name save_hold
INSERT INTO holds (
    bucket, customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (bucket, customer, id) DO UPDATE SET
    kind = excluded.kind, owner = excluded.owner, amount_nano = excluded.amount_nano,
    placed_at = excluded.placed_at, expires_at = excluded.expires_at, state = excluded.state,
    captured_nano = excluded.captured_nano, subject = excluded.subject

-- :name find_hold
SELECT customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
FROM holds WHERE bucket = ? AND customer = ? AND id = ?

-- :name placed_holds
SELECT customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
FROM holds WHERE state = 'placed' AND (:owner IS NULL OR owner = :owner) ORDER BY placed_at, id

-- :name placed_holds_of_customer
SELECT customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
FROM holds
WHERE bucket = :bucket AND customer = :customer AND state = 'placed' AND (:owner IS NULL OR owner = :owner)
ORDER BY placed_at, id

-- :name placed_holds_of
SELECT h.customer, h.id, h.kind, h.owner, h.amount_nano, h.placed_at, h.expires_at, h.state, h.captured_nano,
    h.subject
FROM json_each(?) AS asked CROSS JOIN holds AS h
    ON h.bucket = json_extract(asked.value, '$[0]') AND h.customer = json_extract(asked.value, '$[1]')
WHERE h.state = 'placed'

-- :name account_balances
SELECT account, balance_nano FROM accounts WHERE bucket = ?

-- :name posting_sums
SELECT account, sum(amount_nano / 1000000000), sum(amount_nano % 1000000000) FROM postings
WHERE bucket = ? GROUP BY account

-- :name unbalanced
SELECT t.id, sum(p.amount_nano / 1000000000), sum(p.amount_nano % 1000000000)
FROM transactions AS t JOIN postings AS p USING (bucket, customer, seq)
WHERE t.bucket = ? GROUP BY t.bucket, t.customer, t.seq
HAVING sum(p.amount_nano / 1000000000) * 1000000000 + sum(p.amount_nano % 1000000000) <> 0

-- :name customers_in
SELECT customer FROM balances WHERE bucket = :bucket
UNION SELECT customer FROM transactions WHERE bucket = :bucket
UNION SELECT customer FROM usage_events WHERE bucket = :bucket
ORDER BY customer
