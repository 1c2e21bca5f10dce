-- :name account_balances
SELECT account, sum(balance_nano) FROM accounts WHERE bucket = $1 GROUP BY account

-- :name posting_sums
SELECT account, sum(amount_nano) FROM postings WHERE bucket = $1 GROUP BY account

-- :name unbalanced
SELECT t.id, sum(p.amount_nano) FROM transactions t JOIN postings p USING (bucket, seq)
WHERE t.bucket = $1 GROUP BY t.bucket, t.id HAVING sum(p.amount_nano) <> 0

-- :name customers_in
-- Whoever was once locked has a balance, be it nothing.
SELECT customer FROM balances WHERE bucket = $1
UNION SELECT customer FROM transactions WHERE bucket = $1
UNION SELECT customer FROM usage_events WHERE bucket = $1
ORDER BY customer

-- :name unpaired
SELECT id FROM usage_events e WHERE e.bucket = $1 AND e.customer = $2 AND NOT EXISTS (
    SELECT FROM charges c WHERE c.bucket = $1 AND c.customer = $2 AND c.event_id = e.id
)
UNION ALL
SELECT event_id FROM charges c WHERE c.bucket = $1 AND c.customer = $2 AND NOT EXISTS (
    SELECT FROM usage_events e WHERE e.bucket = $1 AND e.customer = $2 AND e.id = c.event_id
)
ORDER BY 1
