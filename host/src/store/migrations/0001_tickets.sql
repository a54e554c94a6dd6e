-- One row for each (backend, key): what was asked for and what became of it. Times are milliseconds since 1970.
CREATE TABLE tickets (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    backend     TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('queued', 'creating', 'unknown', 'created', 'failed', 'cancelled')),
    -- The incident's level: 1 is the worst.
    level       INTEGER NOT NULL,
    incident    TEXT    NOT NULL,
    accepted_at INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    -- When somebody must look at it again: 0 is now; while creating, the end of the lease; NULL is never.
    due_at      INTEGER,
    -- After this nobody tries any more.
    expires_at  INTEGER NOT NULL,
    -- Counts claims: only who holds the last one may settle it.
    lease       INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    -- 1: there may be a ticket, which must be looked for; 2: nothing can look for it but a person.
    maybe       INTEGER NOT NULL DEFAULT 0,
    -- When it changed or was asked for: what nobody asks for any more is removed some day.
    seen_at     INTEGER NOT NULL,
    -- The ticket as the plugin replied it (JSON).
    ticket      TEXT,
    -- Whether the host made that ticket; else it was there.
    made        INTEGER NOT NULL DEFAULT 0,
    -- The last failure (JSON).
    failure     TEXT,
    -- The incident's argus_url, if Argus is to hear of the ticket, until it has.
    tell_argus  TEXT,
    UNIQUE (backend, key)
);
-- What can be claimed, in the order in which it is.
CREATE INDEX tickets_ready ON tickets (backend, level, id) WHERE due_at = 0;
-- What becomes claimable later, or whose lease ends.
CREATE INDEX tickets_due ON tickets (due_at) WHERE due_at > 0;
CREATE INDEX tickets_expiring ON tickets (expires_at) WHERE due_at IS NOT NULL AND state <> 'creating';
CREATE INDEX tickets_by_state ON tickets (state, backend, id);
CREATE INDEX tickets_by_key ON tickets (key);
CREATE INDEX tickets_finished ON tickets (seen_at) WHERE due_at IS NULL;
CREATE INDEX tickets_to_tell ON tickets (id) WHERE tell_argus IS NOT NULL AND state = 'created';

CREATE TABLE attempts (
    ticket     INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    -- The state that it led to.
    outcome    TEXT    NOT NULL,
    failure    TEXT,
    PRIMARY KEY (ticket, number)
) WITHOUT ROWID;
