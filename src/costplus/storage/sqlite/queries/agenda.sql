-- :name due_of
SELECT due_at FROM customers_due WHERE bucket = ? AND customer = ?

-- :name save_due
INSERT INTO customers_due (bucket, customer, due_at) VALUES (?, ?, ?)
ON CONFLICT (bucket, customer) DO UPDATE SET due_at = excluded.due_at

-- :name forget_due
DELETE FROM customers_due WHERE bucket = ? AND customer = ?

-- :name customers_due
SELECT customer FROM customers_due WHERE due_at <= ? ORDER BY due_at, customer LIMIT ?
