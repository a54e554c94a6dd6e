-- For which tickets it is certain that there is none yet, and fewer indexes. It runs without foreign keys, which hold before and after it.

-- How often a host has opened the store.
ALTER TABLE clock ADD COLUMN opening INTEGER NOT NULL DEFAULT 0;

CREATE TABLE new_tickets (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    backend TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    -- The ticket as the plugin replied it (JSON), once there is one.
    ticket  TEXT,
    -- Whether the host made it; else it was there.
    made    INTEGER NOT NULL DEFAULT 0,
    -- Who asks for a key in one backend, or in any.
    UNIQUE (key, backend)
);
INSERT INTO new_tickets SELECT id, backend, key, ticket, made FROM tickets;
INSERT INTO sqlite_sequence SELECT 'new_tickets', seq FROM sqlite_sequence WHERE name = 'tickets'
    AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'new_tickets');
UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM sqlite_sequence WHERE name IN ('tickets', 'new_tickets')) WHERE name = 'new_tickets';
DROP TABLE tickets;
ALTER TABLE new_tickets RENAME TO tickets;

-- The making of a ticket: machine/mod.rs says what its states mean and how they change.
CREATE TABLE new_steps (
    id          INTEGER PRIMARY KEY,
    ticket      INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    -- The incident that it is made for: one of those that the ticket is assigned to.
    incident    INTEGER NOT NULL,
    backend     TEXT    NOT NULL,
    -- The incident's level: 1 is the worst.
    level       INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    -- 0: there is certainly no other ticket than the one that is kept; 1: there may be one; 2: there may be one, and only a person can look.
    doubt       INTEGER NOT NULL,
    -- The opening of the store in which it is certain that there was no ticket; 0 is none.
    certain     INTEGER NOT NULL,
    settled     INTEGER NOT NULL,
    -- 0 is now, NULL never; while creating, the end of the lease.
    due         INTEGER,
    -- From when on a try that fails is the last one.
    expires     INTEGER NOT NULL,
    lease       INTEGER NOT NULL,
    tries       INTEGER NOT NULL,
    -- How many of them there were when it began anew.
    tried_before INTEGER NOT NULL,
    -- The settling time that a claim would leave behind, in milliseconds.
    settle      INTEGER NOT NULL,
    accepted    INTEGER NOT NULL,
    -- When it changed or was asked for: what is finished and was not asked for since is removed some day.
    seen        INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    -- The last failure (JSON).
    failure     TEXT
);
INSERT INTO new_steps SELECT id, ticket, incident, backend, level, state, doubt, 0, settled, due, expires, lease, tries, tried_before, settle,
    accepted, seen, accepted_at, changed_at, failure FROM steps;
DROP TABLE steps;
ALTER TABLE new_steps RENAME TO steps;
CREATE UNIQUE INDEX steps_by_ticket ON steps (ticket);
-- What can be claimed, in the order in which it is.
CREATE INDEX steps_ready ON steps (backend, certain, level, id) WHERE due = 0;
-- What becomes claimable later, or whose lease ends.
CREATE INDEX steps_due ON steps (due) WHERE due > 0;
CREATE INDEX steps_by_state ON steps (state, backend, ticket);

-- An incident is found by the key of its tickets, which is its own.
DROP INDEX incidents_by_key;
