-- Keys of customers' tables begin with the customer's bucket. Amounts are nanos, instants microseconds since
-- the epoch, exact numbers text. STRICT: an integer that overflows is an error, it never becomes a REAL.

CREATE TABLE records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT NOT NULL,
    lookup TEXT NOT NULL,
    created INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX records_id ON records (kind, id);
CREATE UNIQUE INDEX records_lookup ON records (kind, lookup) WHERE lookup <> '';
CREATE INDEX records_order ON records (kind, seq);
CREATE INDEX records_parent ON records (kind, parent, seq);

CREATE TABLE usage_events (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    key TEXT NOT NULL,
    meter TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    usage BLOB NOT NULL,
    source TEXT NOT NULL,
    raw_usage TEXT NOT NULL,
    request_id TEXT NOT NULL,
    service_tier TEXT NOT NULL,
    reported_cost TEXT NOT NULL,
    PRIMARY KEY (bucket, customer, id)
) STRICT, WITHOUT ROWID;
-- Not unique: the same key is a new event once it is more than 35 days away.
CREATE INDEX usage_events_key ON usage_events (bucket, customer, key, at);

CREATE TABLE unit_rates (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    leaf TEXT NOT NULL,
    priced_as TEXT NOT NULL,
    above_prompt_tokens INTEGER NOT NULL,
    unit_cost TEXT NOT NULL,
    unit_price TEXT NOT NULL,
    adjustment_kind TEXT NOT NULL,
    adjustment_percent TEXT NOT NULL,
    price_version TEXT NOT NULL,
    rate_card_version TEXT NOT NULL,
    conditions TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE charges (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    event_id TEXT NOT NULL,
    billed_at INTEGER NOT NULL,
    price_nano INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    lines BLOB NOT NULL, -- [[unit rate id, quantity], …]
    unpriced BLOB NOT NULL, -- [leaf, …]
    txn TEXT NOT NULL,
    PRIMARY KEY (bucket, customer, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX charges_billed ON charges (bucket, customer, billed_at);
CREATE INDEX charges_latest ON charges (event_id);

CREATE TABLE rollup_units (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    hour INTEGER NOT NULL,
    unit_rate_id TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (bucket, customer, hour, unit_rate_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_totals (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    hour INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    events INTEGER NOT NULL,
    price_nano INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    PRIMARY KEY (bucket, customer, hour, provider, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollup_totals_hour ON rollup_totals (hour);

CREATE TABLE transactions (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    seq INTEGER NOT NULL, -- 1, 2, 3, … per customer: the order in which they were appended.
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    reference TEXT NOT NULL,
    PRIMARY KEY (bucket, customer, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX transactions_id ON transactions (bucket, id);

CREATE TABLE postings (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    account TEXT NOT NULL,
    amount_nano INTEGER NOT NULL,
    PRIMARY KEY (bucket, customer, seq, position),
    FOREIGN KEY (bucket, customer, seq) REFERENCES transactions (bucket, customer, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    bucket INTEGER NOT NULL,
    account TEXT NOT NULL,
    balance_nano INTEGER NOT NULL,
    PRIMARY KEY (bucket, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE balances (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    held_nano INTEGER NOT NULL,
    carried_nano INTEGER NOT NULL,
    owed BLOB NOT NULL, -- {period start in milliseconds: nano}
    fired BLOB NOT NULL, -- [alert id, …]
    PRIMARY KEY (bucket, customer)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    id TEXT NOT NULL,
    created INTEGER NOT NULL,
    amount_nano INTEGER NOT NULL,
    remaining_nano INTEGER NOT NULL,
    currency TEXT NOT NULL,
    effective_at INTEGER NOT NULL,
    expires_at INTEGER,
    category TEXT NOT NULL,
    priority INTEGER NOT NULL,
    name TEXT NOT NULL,
    metadata BLOB NOT NULL,
    voided_at INTEGER,
    expired_at INTEGER,
    source TEXT NOT NULL,
    updated INTEGER,
    minor_amount INTEGER NOT NULL,
    seq INTEGER NOT NULL, -- The order in which grants came, over all customers.
    PRIMARY KEY (bucket, customer, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX grants_id ON grants (id);
CREATE UNIQUE INDEX grants_order ON grants (seq);
CREATE INDEX grants_of_customer ON grants (bucket, customer, seq);
CREATE INDEX grants_live ON grants (bucket, customer, seq)
    WHERE remaining_nano > 0 AND voided_at IS NULL AND expired_at IS NULL;
CREATE INDEX grants_expiring ON grants (expires_at)
    WHERE remaining_nano > 0 AND voided_at IS NULL AND expired_at IS NULL AND expires_at IS NOT NULL;

CREATE TABLE holds (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    owner TEXT NOT NULL,
    amount_nano INTEGER NOT NULL,
    placed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    captured_nano INTEGER NOT NULL,
    PRIMARY KEY (bucket, customer, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_placed ON holds (placed_at, id) WHERE state = 'placed';
CREATE INDEX holds_placed_of_customer ON holds (bucket, customer, placed_at, id) WHERE state = 'placed';

CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    status TEXT NOT NULL,
    response_status INTEGER,
    error TEXT NOT NULL,
    delivered_at INTEGER
) STRICT;
CREATE INDEX deliveries_event ON deliveries (event, seq);
CREATE INDEX deliveries_due ON deliveries (due_at, seq) WHERE status = 'pending';

CREATE TABLE replies (
    key TEXT PRIMARY KEY,
    request_digest TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replies_created ON replies (created);

CREATE TABLE numbers (
    series TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
