-- What each meter without tokens counted and was charged per billing period: an item's tiers go by it.

CREATE TABLE metered (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    meter TEXT NOT NULL,
    period_start INTEGER NOT NULL,
    units INTEGER NOT NULL,
    price_nano INTEGER NOT NULL,
    PRIMARY KEY (bucket, customer, meter, period_start)
) STRICT, WITHOUT ROWID;
