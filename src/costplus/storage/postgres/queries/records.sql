-- :name save_records
INSERT INTO records (kind, id, parent, lookup, created, body)
SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::bigint[], $6::text::bytea[])
ON CONFLICT (kind, id) DO UPDATE SET parent = excluded.parent, lookup = excluded.lookup, body = excluded.body

-- :name find_record
SELECT body FROM records WHERE kind = $1 AND id = $2

-- :name find_records
SELECT id, body FROM records WHERE kind = $1 AND id = ANY ($2::text::text[])

-- :name find_record_by_lookup
SELECT id, body FROM records WHERE kind = $1 AND lookup = $2 AND lookup <> ''

-- :name remove_record
DELETE FROM records WHERE kind = $1 AND id = $2

-- :name seq_of_record
SELECT seq FROM records WHERE kind = $1 AND id = $2

-- :name records_latest
SELECT body FROM records WHERE kind = $4 AND seq > $1 AND seq < $2 ORDER BY seq DESC LIMIT $3

-- :name records_after
SELECT body FROM records WHERE kind = $4 AND seq > $1 AND seq < $2 ORDER BY seq LIMIT $3

-- :name records_latest_of_parent
SELECT body FROM records
WHERE kind = $4 AND parent = $5 AND seq > $1 AND seq < $2 ORDER BY seq DESC LIMIT $3

-- :name records_after_of_parent
SELECT body FROM records
WHERE kind = $4 AND parent = $5 AND seq > $1 AND seq < $2 ORDER BY seq LIMIT $3

-- :name records_latest_of_parents
SELECT w.parent, r.body
FROM unnest($2::text::text[]) AS w (parent) CROSS JOIN LATERAL (
    SELECT seq, body FROM records WHERE kind = $1 AND parent = w.parent ORDER BY seq DESC LIMIT $3
) AS r
ORDER BY w.parent, r.seq DESC
