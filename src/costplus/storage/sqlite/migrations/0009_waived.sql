-- Why a rate asks for nothing (included in a plan, cost tracking only), and what it sells for otherwise.

ALTER TABLE unit_rates ADD COLUMN waived TEXT NOT NULL DEFAULT '';
ALTER TABLE unit_rates ADD COLUMN list_price TEXT NOT NULL DEFAULT '';
CREATE INDEX unit_rates_waived ON unit_rates (id) WHERE waived <> '';
