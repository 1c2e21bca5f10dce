-- :name lock_customers
SELECT balance, live, known FROM lock_customers($1, $2::text::integer[], $3::text::text[], $4)

-- :name find_balance
SELECT held_nano, carried_nano, owed, fired, paid FROM balances WHERE bucket = $1 AND customer = $2

-- :name save_balances
INSERT INTO balances (bucket, customer, held_nano, carried_nano, owed, fired, paid)
SELECT * FROM unnest($1::text::integer[], $2::text::text[], $3::text::bigint[], $4::text::bigint[], $5::text::bytea[], $6::text::bytea[], $7::text::bytea[])
ON CONFLICT (bucket, customer) DO UPDATE SET
    held_nano = excluded.held_nano, carried_nano = excluded.carried_nano, owed = excluded.owed,
    fired = excluded.fired, paid = excluded.paid

-- :name posted
-- The postings of one flush, for the statements after it.
SELECT * FROM unnest($1::text::text[], $2::text::integer[], $3::text::integer[], $4::text::text[], $5::text::bigint[])
    AS p (id, bucket, position, account, amount_nano)

-- :name append_transactions
INSERT INTO transactions (bucket, customer, id, at, kind, reference)
SELECT * FROM unnest($1::text::integer[], $2::text::text[], $3::text::text[], $4::text::bigint[], $5::text::text[], $6::text::text[])
ON CONFLICT (bucket, id) DO NOTHING RETURNING bucket, customer, seq, id

-- :name append_postings
INSERT INTO postings (bucket, seq, position, account, amount_nano)
SELECT t.bucket, t.seq, p.position, p.account, p.amount_nano
FROM append_transactions t JOIN posted p USING (bucket, id)

-- :name move_accounts
INSERT INTO accounts (bucket, account, customer, balance_nano)
SELECT t.bucket, p.account, t.customer, sum(p.amount_nano)
FROM append_transactions t JOIN posted p USING (bucket, id)
GROUP BY t.bucket, p.account, t.customer
ON CONFLICT (bucket, account, customer) DO UPDATE SET
    balance_nano = accounts.balance_nano + excluded.balance_nano

-- :name find_account
SELECT coalesce(sum(balance_nano), 0) FROM accounts WHERE bucket = $1 AND account = $2

-- :name transactions_of
SELECT seq, id, at, kind, reference FROM transactions
WHERE bucket = $1 AND customer = $2
    AND seq > coalesce((SELECT seq FROM transactions WHERE bucket = $1 AND customer = $2 AND id = $4), 0)
ORDER BY seq LIMIT $3

-- :name find_transaction
SELECT seq, id, at, kind, reference FROM transactions WHERE bucket = $1 AND customer = $2 AND id = $3

-- :name postings_of_one
SELECT account, amount_nano FROM postings
WHERE bucket = $1 AND seq = $2 ORDER BY position

-- :name postings_of
SELECT t.seq, p.account, p.amount_nano FROM transactions t JOIN postings p USING (bucket, seq)
WHERE t.bucket = $1 AND t.customer = $2 AND t.seq BETWEEN $3 AND $4 ORDER BY t.seq, p.position

-- :name save_grants
INSERT INTO grants (
    bucket, customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
)
SELECT * FROM unnest(
    $1::text::integer[], $2::text::text[], $3::text::text[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[], $7::text::text[], $8::text::bigint[],
    $9::text::bigint[], $10::text::text[], $11::text::bigint[], $12::text::text[], $13::text::bytea[], $14::text::bigint[], $15::text::bigint[],
    $16::text::text[], $17::text::bigint[], $18::text::bigint[], $19::text::bigint[], $20::text::bytea[], $21::text::bigint[], $22::text::text[],
    $23::text::text[]
)
ON CONFLICT (bucket, customer, id) DO UPDATE SET
    created = excluded.created, amount_nano = excluded.amount_nano, remaining_nano = excluded.remaining_nano,
    currency = excluded.currency, effective_at = excluded.effective_at, expires_at = excluded.expires_at,
    category = excluded.category, priority = excluded.priority, name = excluded.name,
    metadata = excluded.metadata, voided_at = excluded.voided_at, expired_at = excluded.expired_at,
    source = excluded.source, updated = excluded.updated, minor_amount = excluded.minor_amount,
    lapsed_nano = excluded.lapsed_nano, scope = excluded.scope, begun_at = excluded.begun_at,
    unit = excluded.unit, unit_amount = excluded.unit_amount

-- :name find_grant
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants WHERE id = $1

-- :name grants_of
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants WHERE bucket = $1 AND customer = $2 ORDER BY seq

-- :name live_grants
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants
WHERE bucket = $1 AND customer = $2 AND is_live ORDER BY seq

-- :name grants_expiring
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants
WHERE expires_at <= $1 AND expires_at IS NOT NULL AND is_live ORDER BY expires_at, seq LIMIT $2

-- :name seq_of_grant
SELECT seq FROM grants WHERE id = $1

-- :name grants_latest
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants WHERE seq > $1 AND seq < $2 ORDER BY seq DESC LIMIT $3

-- :name grants_after
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants WHERE seq > $1 AND seq < $2 ORDER BY seq LIMIT $3

-- :name grants_latest_of_customer
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants WHERE bucket = $4 AND customer = $5 AND seq > $1 AND seq < $2 ORDER BY seq DESC LIMIT $3

-- :name grants_after_of_customer
SELECT customer, id, created, amount_nano, remaining_nano, currency, effective_at, expires_at, category,
    priority, name, metadata, voided_at, expired_at, source, updated, minor_amount,
    lapsed_nano, scope, begun_at, unit, unit_amount
FROM grants WHERE bucket = $4 AND customer = $5 AND seq > $1 AND seq < $2 ORDER BY seq LIMIT $3

-- :name save_holds
INSERT INTO holds (
    bucket, customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
)
SELECT * FROM unnest(
    $1::text::integer[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::text[], $6::text::bigint[], $7::text::bigint[], $8::text::bigint[],
    $9::text::text[], $10::text::bigint[], $11::text::text[]
)
ON CONFLICT (bucket, customer, id) DO UPDATE SET
    kind = excluded.kind, owner = excluded.owner, amount_nano = excluded.amount_nano,
    placed_at = excluded.placed_at, expires_at = excluded.expires_at, state = excluded.state,
    captured_nano = excluded.captured_nano, subject = excluded.subject

-- :name find_hold
SELECT customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
FROM holds WHERE bucket = $1 AND customer = $2 AND id = $3

-- :name placed_holds
SELECT customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
FROM holds WHERE state = 'placed' AND ($1::text IS NULL OR owner = $1) ORDER BY placed_at, id

-- :name placed_holds_of_customer
SELECT customer, id, kind, owner, amount_nano, placed_at, expires_at, state, captured_nano, subject
FROM holds
WHERE bucket = $1 AND customer = $2 AND state = 'placed' AND ($3::text IS NULL OR owner = $3)
ORDER BY placed_at, id
