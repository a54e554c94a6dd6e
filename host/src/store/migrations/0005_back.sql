-- What incidents hear of their tickets (queue/states.rs finds that out).

-- What the incident's source is still to be told of its ticket (JSON); NULL: nothing.
ALTER TABLE incidents ADD COLUMN back TEXT;
-- Whether the ticket's state was only met by a step that was to write to it: nobody was told of it, and it is to be asked for.
ALTER TABLE tickets ADD COLUMN met INTEGER NOT NULL DEFAULT 0;
CREATE INDEX incidents_to_tell_back ON incidents (id) WHERE back IS NOT NULL;
