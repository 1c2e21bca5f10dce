-- Grants for some usage only, in custom pricing units, and since when they take part; holds for one model.

ALTER TABLE grants ADD COLUMN scope BLOB; -- NULL: any usage.
ALTER TABLE grants ADD COLUMN begun_at INTEGER;
ALTER TABLE grants ADD COLUMN unit TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN unit_amount TEXT NOT NULL DEFAULT '';
-- A grant that was effective when it was given took part from then on.
UPDATE grants SET begun_at = created WHERE effective_at <= created;

ALTER TABLE holds ADD COLUMN subject TEXT NOT NULL DEFAULT '';
