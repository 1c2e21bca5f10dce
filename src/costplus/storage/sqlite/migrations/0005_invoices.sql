-- What paid each period's usage, until its invoice is final; and what late usage may still burn of a grant.

ALTER TABLE balances ADD COLUMN paid BLOB NOT NULL DEFAULT X'7B7D'; -- {period start: {grant id: nano}}
ALTER TABLE grants ADD COLUMN lapsed_nano INTEGER NOT NULL DEFAULT 0;
