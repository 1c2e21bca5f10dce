-- What a price depends on besides tokens and time, and the price version that a rate sells by.

ALTER TABLE usage_events ADD COLUMN circumstances TEXT NOT NULL DEFAULT '';
ALTER TABLE unit_rates ADD COLUMN basis_version TEXT NOT NULL DEFAULT '';
CREATE INDEX unit_rates_model ON unit_rates (provider, model);
CREATE INDEX rollup_units_rate ON rollup_units (unit_rate_id, hour);
