-- What incidents hear of their tickets, as in SQLite's tables (../0005_back.sql says what the column means). Hosts of the version before tell
-- nobody of tickets meanwhile.
ALTER TABLE incidents ADD COLUMN back TEXT;
ALTER TABLE tickets ADD COLUMN known_by BIGINT NOT NULL DEFAULT 0;
CREATE INDEX incidents_to_tell_back ON incidents (id) WHERE back IS NOT NULL;
