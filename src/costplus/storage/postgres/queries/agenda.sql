-- :name due_of
SELECT due_at FROM customers_due WHERE bucket = $1 AND customer = $2

-- :name save_dues
INSERT INTO customers_due (bucket, customer, due_at)
SELECT * FROM unnest($1::text::integer[], $2::text::text[], $3::text::bigint[])
ON CONFLICT (bucket, customer) DO UPDATE SET due_at = excluded.due_at

-- :name forget_dues
DELETE FROM customers_due d USING unnest($1::text::integer[], $2::text::text[]) AS w (bucket, customer)
WHERE d.bucket = w.bucket AND d.customer = w.customer

-- :name customers_due
SELECT customer FROM customers_due WHERE due_at <= $1 ORDER BY due_at, customer LIMIT $2
