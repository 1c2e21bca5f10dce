-- Deliveries go in order per object, keep what was answered, and are listed by endpoint. Meter events are found
-- by their identifier, whoever's they are.

ALTER TABLE deliveries ADD COLUMN object TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN created INTEGER;
ALTER TABLE deliveries ADD COLUMN response_body TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN log BLOB NOT NULL DEFAULT x'5b5d'; -- []: [{at, status, duration_ms, error}, …]
CREATE INDEX deliveries_object ON deliveries (endpoint, object, seq) WHERE status = 'pending';
CREATE INDEX deliveries_endpoint ON deliveries (endpoint, seq);
CREATE INDEX usage_events_identifier ON usage_events (key)
    WHERE source IN ('meter_events_v1', 'meter_events_v2');
