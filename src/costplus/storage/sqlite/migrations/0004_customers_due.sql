-- When each customer in real time has something to be closed next.

CREATE TABLE customers_due (
    bucket INTEGER NOT NULL,
    customer TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (bucket, customer)
) STRICT, WITHOUT ROWID;
CREATE INDEX customers_due_order ON customers_due (due_at, customer);
