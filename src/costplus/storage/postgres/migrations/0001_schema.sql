-- Keys of customers' tables begin with the customer's bucket, and every row of theirs belongs to one customer,
-- whose lock covers it. Amounts are nanos, instants microseconds since the epoch, exact numbers text, the rest
-- JSON as bytes. Text that is a key compares byte by byte ("C"), as in every other store.

CREATE TABLE records (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    parent text COLLATE "C" NOT NULL,
    lookup text COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (kind, id)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX records_lookup ON records (kind, lookup) WHERE lookup <> '';
CREATE INDEX records_order ON records (kind, seq);
CREATE INDEX records_parent ON records (kind, parent, seq);

-- An event's id begins with its millisecond, so a month of events is a range of ids: the primary key holds the
-- partition key, and is unique over all partitions.
CREATE TABLE usage_events (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    meter text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    requested_model text NOT NULL,
    usage bytea NOT NULL,
    source text NOT NULL,
    raw_usage text NOT NULL,
    request_id text NOT NULL,
    service_tier text NOT NULL,
    reported_cost text NOT NULL,
    circumstances text NOT NULL,
    api_key text NOT NULL, -- Spend is capped and watched per key.
    PRIMARY KEY (bucket, customer, id)
) PARTITION BY RANGE (id);
-- Not unique: the same key is a new event once it is more than 35 days away.
CREATE INDEX usage_events_key ON usage_events (bucket, customer, key, at);
-- Meter events are found by their identifier, whoever's they are.
CREATE INDEX usage_events_identifier ON usage_events (key)
    WHERE source IN ('meter_events_v1', 'meter_events_v2');

CREATE TABLE charges (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    billed_at bigint NOT NULL,
    price_nano bigint NOT NULL,
    cost_nano bigint NOT NULL,
    lines bytea NOT NULL, -- [[unit rate id, quantity], …]
    unpriced bytea NOT NULL, -- [leaf, …]
    txn text NOT NULL,
    PRIMARY KEY (bucket, customer, event_id)
) PARTITION BY RANGE (event_id);
CREATE INDEX charges_billed ON charges (bucket, customer, billed_at);
CREATE INDEX charges_latest ON charges (event_id);

-- What no month covers: before 2020 and from 2100 on, whatever the caller's clock said.
CREATE TABLE usage_events_early PARTITION OF usage_events FOR VALUES FROM (MINVALUE) TO ('016f5e66e800');
CREATE TABLE usage_events_late PARTITION OF usage_events FOR VALUES FROM ('03bb2cc3d800') TO (MAXVALUE);
CREATE TABLE charges_early PARTITION OF charges FOR VALUES FROM (MINVALUE) TO ('016f5e66e800');
CREATE TABLE charges_late PARTITION OF charges FOR VALUES FROM ('03bb2cc3d800') TO (MAXVALUE);

CREATE TABLE unit_rates (
    id text COLLATE "C" PRIMARY KEY,
    provider text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    leaf text NOT NULL,
    priced_as text NOT NULL,
    above_prompt_tokens bigint NOT NULL,
    unit_cost text NOT NULL,
    unit_price text NOT NULL,
    adjustment_kind text NOT NULL,
    adjustment_percent text NOT NULL,
    price_version text NOT NULL,
    rate_card_version text NOT NULL,
    conditions text NOT NULL,
    basis_version text NOT NULL,
    waived text NOT NULL, -- Why it asks for nothing; empty: it does ask.
    list_price text NOT NULL -- What it sells for where nothing is waived.
);
CREATE INDEX unit_rates_model ON unit_rates (provider, model);
CREATE INDEX unit_rates_waived ON unit_rates (id) WHERE waived <> '';

CREATE TABLE rollup_units (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    unit_rate_id text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (bucket, customer, hour, unit_rate_id)
) WITH (fillfactor = 80);
CREATE INDEX rollup_units_rate ON rollup_units (unit_rate_id, hour);

CREATE TABLE rollup_totals (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    provider text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    price_nano bigint NOT NULL,
    cost_nano bigint NOT NULL,
    PRIMARY KEY (bucket, customer, hour, provider, model)
) WITH (fillfactor = 80);
CREATE INDEX rollup_totals_hour ON rollup_totals (hour);

CREATE TABLE metered (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    period_start bigint NOT NULL,
    units bigint NOT NULL,
    price_nano bigint NOT NULL,
    PRIMARY KEY (bucket, customer, meter, period_start)
) WITH (fillfactor = 80);

CREATE TABLE transactions (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY, -- Ascends in the order in which a customer's were appended.
    id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    PRIMARY KEY (bucket, customer, seq)
);
CREATE UNIQUE INDEX transactions_id ON transactions (bucket, id);

-- `seq` is the transaction's, which is the only one with it. No foreign key: postings are written by the statement
-- that inserts their transaction, and by no other; a check per row would cost more than the row.
CREATE TABLE postings (
    bucket integer NOT NULL,
    seq bigint NOT NULL,
    position integer NOT NULL,
    account text COLLATE "C" NOT NULL,
    amount_nano bigint NOT NULL,
    PRIMARY KEY (bucket, seq, position)
);

-- An account of the seller's has one row for each customer that moved it, so that no two customers ever wait for
-- each other; its balance within a bucket is their sum.
CREATE TABLE accounts (
    bucket integer NOT NULL,
    account text COLLATE "C" NOT NULL,
    customer text COLLATE "C" NOT NULL,
    balance_nano bigint NOT NULL,
    PRIMARY KEY (bucket, account, customer)
) WITH (fillfactor = 80);

CREATE TABLE balances (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    held_nano bigint NOT NULL DEFAULT 0,
    carried_nano bigint NOT NULL DEFAULT 0,
    owed bytea NOT NULL DEFAULT '{}', -- {period start in milliseconds: nano}
    fired bytea NOT NULL DEFAULT '[]', -- [alert id, …]
    paid bytea NOT NULL DEFAULT '{}', -- {period start in milliseconds: {grant id: nano}}
    PRIMARY KEY (bucket, customer)
) WITH (fillfactor = 80);

CREATE TABLE grants (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    amount_nano bigint NOT NULL,
    remaining_nano bigint NOT NULL,
    currency text NOT NULL,
    effective_at bigint NOT NULL,
    expires_at bigint,
    category text NOT NULL,
    priority bigint NOT NULL,
    name text NOT NULL,
    metadata bytea NOT NULL,
    voided_at bigint,
    expired_at bigint,
    source text NOT NULL,
    updated bigint,
    minor_amount bigint NOT NULL,
    lapsed_nano bigint NOT NULL,
    scope bytea, -- NULL: any usage.
    begun_at bigint,
    unit text NOT NULL,
    unit_amount text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY, -- The order in which grants came, over all customers.
    -- What indexes ask for: it changes once, while what remains changes all the time and would touch them all.
    is_live boolean NOT NULL
        GENERATED ALWAYS AS (remaining_nano > 0 AND voided_at IS NULL AND expired_at IS NULL) STORED,
    PRIMARY KEY (bucket, customer, id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX grants_id ON grants (id);
CREATE INDEX grants_order ON grants (seq);
CREATE INDEX grants_of_customer ON grants (bucket, customer, seq);
CREATE INDEX grants_live ON grants (bucket, customer, seq) WHERE is_live;
CREATE INDEX grants_expiring ON grants (expires_at) WHERE is_live AND expires_at IS NOT NULL;

CREATE TABLE holds (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    owner text NOT NULL,
    amount_nano bigint NOT NULL,
    placed_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    state text NOT NULL,
    captured_nano bigint NOT NULL,
    subject text NOT NULL,
    PRIMARY KEY (bucket, customer, id)
) WITH (fillfactor = 80);
CREATE INDEX holds_placed ON holds (placed_at, id) WHERE state = 'placed';
CREATE INDEX holds_placed_of_customer ON holds (bucket, customer, placed_at, id) WHERE state = 'placed';

CREATE TABLE customers_due (
    bucket integer NOT NULL,
    customer text COLLATE "C" NOT NULL,
    due_at bigint NOT NULL,
    PRIMARY KEY (bucket, customer)
) WITH (fillfactor = 80);
CREATE INDEX customers_due_order ON customers_due (due_at, customer);

CREATE TABLE deliveries (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id text COLLATE "C" PRIMARY KEY,
    event text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    due_at bigint NOT NULL,
    attempts bigint NOT NULL,
    status text NOT NULL,
    response_status bigint,
    error text NOT NULL,
    delivered_at bigint,
    object text COLLATE "C" NOT NULL, -- What is told of in order, one after the other; empty: nothing.
    created bigint,
    response_body text NOT NULL,
    log bytea NOT NULL -- [{at, status, duration_ms, error}, …]
);
CREATE INDEX deliveries_event ON deliveries (event, seq);
CREATE INDEX deliveries_endpoint ON deliveries (endpoint, seq);
CREATE INDEX deliveries_due ON deliveries (due_at, seq) WHERE status = 'pending';
CREATE INDEX deliveries_object ON deliveries (endpoint, object, seq) WHERE status = 'pending';

CREATE TABLE replies (
    key text COLLATE "C" PRIMARY KEY,
    request_digest text NOT NULL,
    status bigint NOT NULL,
    body bytea NOT NULL,
    created bigint NOT NULL
);
CREATE INDEX replies_created ON replies (created);

CREATE TABLE numbers (
    series text COLLATE "C" PRIMARY KEY,
    value bigint NOT NULL
);

-- Lock customers (in order of bucket and name) and return what most writers of theirs ask for first. Each
-- statement of a volatile function sees what was committed before it, so all of it is the newest state.
-- `asked` is a hold that is returned whatever its state, with those that are placed.
CREATE FUNCTION lock_customers(book bigint, buckets integer[], customers text[], asked text)
RETURNS TABLE (balance balances, live grants[], known holds[])
LANGUAGE plpgsql VOLATILE AS $$
DECLARE locked bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(book);
    PERFORM FROM unnest(buckets, customers) AS w (bucket, customer) JOIN balances b USING (bucket, customer)
        ORDER BY b.bucket, b.customer FOR UPDATE OF b;
    GET DIAGNOSTICS locked = ROW_COUNT;
    IF locked < cardinality(customers) THEN
        INSERT INTO balances (bucket, customer) SELECT * FROM unnest(buckets, customers) ORDER BY 1, 2
            ON CONFLICT DO NOTHING;
        PERFORM FROM unnest(buckets, customers) AS w (bucket, customer) JOIN balances b USING (bucket, customer)
            ORDER BY b.bucket, b.customer FOR UPDATE OF b;
    END IF;
    RETURN QUERY
        SELECT b,
            ARRAY(
                SELECT g FROM grants g
                WHERE g.bucket = b.bucket AND g.customer = b.customer AND g.is_live
                ORDER BY g.seq
            ),
            ARRAY(
                SELECT h FROM holds h
                WHERE h.bucket = b.bucket AND h.customer = b.customer AND h.state = 'placed'
                ORDER BY h.placed_at, h.id
            ) || ARRAY(
                SELECT h FROM holds h
                WHERE h.bucket = b.bucket AND h.customer = b.customer AND h.id = asked AND h.state <> 'placed'
            )
        FROM unnest(buckets, customers) AS w (bucket, customer) JOIN balances b USING (bucket, customer);
END $$;
