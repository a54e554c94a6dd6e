-- Incidents, the tickets that they have or are to have, and the making of each. What is called _at is milliseconds since 1970, for people; all other
-- times are moments of the store's own time (machine/moment.rs).
DROP INDEX tickets_by_key;
ALTER TABLE tickets RENAME TO old_tickets;
ALTER TABLE attempts RENAME TO old_attempts;

-- What a monitoring system reported.
CREATE TABLE incidents (
    id     INTEGER PRIMARY KEY,
    -- Who reported it, and its number there. An incident that has no other identity than its key has '' and that key.
    source TEXT    NOT NULL,
    number TEXT    NOT NULL,
    -- By what plugins know it.
    key    TEXT    NOT NULL,
    -- When it began, as its source itself said; empty if that never did.
    began  TEXT    NOT NULL,
    -- All of it (JSON).
    body   TEXT    NOT NULL,
    -- Whether somebody asked for its ticket, which is made then though the incident ended meanwhile.
    wanted INTEGER NOT NULL,
    -- Whether its source is to hear of the ticket: 0 no, 1 once there is one, 2 now.
    tell   INTEGER NOT NULL,
    UNIQUE (source, number)
);
CREATE INDEX incidents_by_key ON incidents (key);
CREATE INDEX incidents_to_tell ON incidents (id) WHERE tell = 2;

-- A ticket in a backend that there is, or is to be. Its id is the job's number.
CREATE TABLE tickets (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    backend TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    -- The ticket as the plugin replied it (JSON), once there is one.
    ticket  TEXT,
    -- Whether the host made it; else it was there.
    made    INTEGER NOT NULL DEFAULT 0,
    UNIQUE (backend, key)
);
CREATE INDEX tickets_by_key ON tickets (key);

-- Which ticket an incident has, and why: the slot is '' for the one that every incident gets, else the name of the backend that was asked
-- for by its name.
CREATE TABLE assignments (
    incident INTEGER NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    slot     TEXT    NOT NULL,
    ticket   INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    PRIMARY KEY (incident, slot)
) WITHOUT ROWID;
CREATE INDEX assignments_by_ticket ON assignments (ticket);

-- The making of a ticket: machine/mod.rs says what its states mean and how they change.
CREATE TABLE steps (
    id          INTEGER PRIMARY KEY,
    ticket      INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    -- The incident that it is made for.
    incident    INTEGER NOT NULL REFERENCES incidents (id),
    backend     TEXT    NOT NULL,
    -- The incident's level: 1 is the worst.
    level       INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    -- 0: there is certainly no other ticket than the one that is kept; 1: there may be one; 2: there may be one, and only a person can look.
    doubt       INTEGER NOT NULL,
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
CREATE UNIQUE INDEX steps_by_ticket ON steps (ticket);
CREATE INDEX steps_by_incident ON steps (incident);
-- What can be claimed, in the order in which it is.
CREATE INDEX steps_ready ON steps (backend, level, id) WHERE due = 0;
-- What becomes claimable later, or whose lease ends.
CREATE INDEX steps_due ON steps (due) WHERE due > 0;
CREATE INDEX steps_by_state ON steps (state, backend, ticket);
CREATE INDEX steps_finished ON steps (seen) WHERE state IN ('created', 'cancelled', 'suppressed');

CREATE TABLE attempts (
    step       INTEGER NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    -- The state that it led to.
    outcome    TEXT    NOT NULL,
    failure    TEXT,
    PRIMARY KEY (step, number)
) WITHOUT ROWID;

-- For how many milliseconds hosts have worked on this store.
CREATE TABLE clock (now INTEGER NOT NULL);
INSERT INTO clock VALUES (1);

-- What the host must not forget, by name.
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- What there was before. Who asked for a ticket wasn't kept, so each counts as wanted.
INSERT INTO incidents
    SELECT min(id), '', key, key, '', incident, 1,
        max(CASE WHEN tell_argus IS NULL THEN 0 WHEN state = 'created' THEN 2 ELSE 1 END)
    FROM old_tickets GROUP BY key;
INSERT INTO tickets SELECT id, backend, key, ticket, made FROM old_tickets;
-- Nor was it kept who had asked for a backend by its name: only what Argus is to hear of is taken for the ticket that every incident gets.
INSERT INTO assignments
    SELECT incidents.id, '', min(old_tickets.id) FROM old_tickets JOIN incidents USING (key)
    WHERE tell_argus IS NOT NULL GROUP BY incidents.id;
INSERT INTO assignments
    SELECT incidents.id, backend, old_tickets.id FROM old_tickets JOIN incidents USING (key)
    WHERE NOT EXISTS (SELECT 1 FROM assignments WHERE ticket = old_tickets.id);
WITH now AS (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS at)
INSERT INTO steps
    SELECT old.id, old.id, incidents.id, backend, level, state, maybe,
        -- Whoever looks for it waits as long as it would have waited, or a minute.
        CASE WHEN maybe <> 1 THEN 1 WHEN due_at > 0 THEN max(1, min(due_at - now.at, 3600000)) ELSE 60000 END,
        -- At most an hour, which is as long as the settling time may be: whatever the clock was when this was written.
        CASE WHEN due_at > 0 THEN max(1, min(due_at - now.at, 3600000)) ELSE due_at END,
        -- At least a day more.
        max(86400000, expires_at - now.at), lease, attempts, attempts, 60000, 1, 1, accepted_at, changed_at, failure
    FROM old_tickets AS old JOIN incidents USING (key), now;
INSERT INTO attempts SELECT * FROM old_attempts;
-- Argus's incidents that were there before were filed, or would have been.
INSERT INTO notes SELECT 'argus.backlog', 'all' WHERE EXISTS (SELECT 1 FROM old_tickets);
INSERT INTO sqlite_sequence SELECT 'tickets', seq FROM sqlite_sequence WHERE name = 'old_tickets'
    AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'tickets');
UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM sqlite_sequence WHERE name IN ('tickets', 'old_tickets')) WHERE name = 'tickets';
DROP TABLE old_attempts;
DROP TABLE old_tickets;

-- A host of before the steps looks here, and leaves alone what has a version that it doesn't know.
CREATE TABLE IF NOT EXISTS _sqlx_migrations (
    version        BIGINT PRIMARY KEY,
    description    TEXT NOT NULL,
    installed_on   TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success        BOOLEAN NOT NULL,
    checksum       BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (2, 'steps', TRUE, x'00', 0);
