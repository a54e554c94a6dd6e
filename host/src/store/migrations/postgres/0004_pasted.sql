-- Tickets that people gave to incidents, as in SQLite's tables (../0006_pasted.sql says what the columns mean). Tickets that were made before
-- aren't found by what they are called: to name all of them would hold up all hosts of a large store.
ALTER TABLE tickets ADD COLUMN remote TEXT;
-- It may be longer than what an index in order can hold.
CREATE INDEX tickets_by_remote ON tickets USING hash (remote) WHERE remote IS NOT NULL;
ALTER TABLE tickets ADD COLUMN pasted BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE assignments ADD COLUMN url TEXT;
