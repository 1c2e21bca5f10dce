-- :name save_record
INSERT INTO records (kind, id, parent, lookup, created, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET parent = excluded.parent, lookup = excluded.lookup, body = excluded.body

-- :name find_record
SELECT body, id FROM records WHERE kind = ? AND id = ?

-- :name find_records
SELECT r.body, r.id FROM json_each(?) AS asked CROSS JOIN records AS r ON r.kind = ? AND r.id = asked.value

-- :name find_record_by_lookup
SELECT body FROM records WHERE kind = ? AND lookup = ? AND lookup <> ''

-- :name remove_record
DELETE FROM records WHERE kind = ? AND id = ?

-- :name seq_of_record
SELECT seq FROM records WHERE kind = ? AND id = ?

-- :name records_latest
SELECT body FROM records WHERE kind = :kind AND seq > :above AND seq < :below ORDER BY seq DESC LIMIT :limit

-- :name records_after
SELECT body FROM records WHERE kind = :kind AND seq > :above AND seq < :below ORDER BY seq LIMIT :limit

-- :name records_latest_of_parent
SELECT body FROM records
WHERE kind = :kind AND parent = :parent AND seq > :above AND seq < :below ORDER BY seq DESC LIMIT :limit

-- :name newest_of_parent
SELECT parent, body FROM records WHERE kind = ? AND parent = ? ORDER BY seq DESC LIMIT ?

-- :name newest_of_parents
SELECT r.parent, r.body FROM json_each(?) AS asked CROSS JOIN records AS r ON r.seq IN (
    SELECT seq FROM records WHERE kind = ? AND parent = asked.value ORDER BY seq DESC LIMIT ?
)
ORDER BY asked.key, r.seq DESC

-- :name records_after_of_parent
SELECT body FROM records
WHERE kind = :kind AND parent = :parent AND seq > :above AND seq < :below ORDER BY seq LIMIT :limit
