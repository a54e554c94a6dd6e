-- What incidents hear of their tickets (queue/states.rs finds that out).

-- What the incident's source is still to be told of its ticket (JSON); NULL: nothing.
ALTER TABLE incidents ADD COLUMN back TEXT;
-- How the ticket's state is known: 0 it was believed, or this host brought it about; 1 a step met it so, and nobody was told; 2 its incident has begun
-- again since.
ALTER TABLE tickets ADD COLUMN known_by INTEGER NOT NULL DEFAULT 0;
CREATE INDEX incidents_to_tell_back ON incidents (id) WHERE back IS NOT NULL;
