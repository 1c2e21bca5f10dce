-- Which key a call came with: spend is capped and watched per key.

ALTER TABLE usage_events ADD COLUMN api_key TEXT NOT NULL DEFAULT '';
