-- Tickets that people gave to incidents, as in SQLite's tables (../0006_pasted.sql says what the columns mean). Tickets that hosts of the version
-- before make meanwhile aren't found by what they are called.
ALTER TABLE tickets ADD COLUMN remote TEXT;
UPDATE tickets SET remote = COALESCE(NULLIF(ticket::json ->> 'id', ''), ticket::json ->> 'url') WHERE ticket IS NOT NULL;
-- It may be longer than what an index in order can hold.
CREATE INDEX tickets_by_remote ON tickets USING hash (remote) WHERE remote IS NOT NULL;
ALTER TABLE tickets ADD COLUMN pasted BOOLEAN NOT NULL DEFAULT FALSE;
