-- What incidents hear of their tickets (queue/states.rs finds that out).

-- What the incident's source is still to be told of its ticket (JSON); NULL: nothing.
ALTER TABLE incidents ADD COLUMN back TEXT;
CREATE INDEX incidents_to_tell_back ON incidents (id) WHERE back IS NOT NULL;
