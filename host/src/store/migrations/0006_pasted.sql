-- Tickets that people gave to incidents.

-- By what its backend's ticket system calls it, else its URL; NULL: it isn't made yet.
ALTER TABLE tickets ADD COLUMN remote TEXT;
UPDATE tickets SET remote = COALESCE(NULLIF(json_extract(ticket, '$.id'), ''), json_extract(ticket, '$.url')) WHERE ticket IS NOT NULL;
CREATE INDEX tickets_by_remote ON tickets (remote, backend) WHERE remote IS NOT NULL;
-- The URL that a person gave the incident, as its source has it; NULL: a host told the source.
ALTER TABLE assignments ADD COLUMN url TEXT;
-- Whether a person gave it to its incident, so that it is that person's.
ALTER TABLE tickets ADD COLUMN pasted INTEGER NOT NULL DEFAULT 0;
