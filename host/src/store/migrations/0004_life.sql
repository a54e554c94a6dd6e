-- What tickets are told of their incidents after they were made (life/mod.rs decides what).

-- Whether what is known of the incident was so while this host knew how to follow it: what happened before is told to no ticket.
ALTER TABLE incidents ADD COLUMN followed INTEGER NOT NULL DEFAULT 0;
-- When it was told that the incident ended; NULL: it goes on.
ALTER TABLE incidents ADD COLUMN ended INTEGER;
-- Which incidents of a source go on, as far as is known.
CREATE INDEX incidents_going_on ON incidents (source, id) WHERE ended IS NULL AND followed = 1;

-- What the ticket was told last of its incident, or made with (JSON); NULL: the incident has been the same since.
ALTER TABLE tickets ADD COLUMN told TEXT;
ALTER TABLE tickets ADD COLUMN told_at INTEGER;
-- When it was last told that its incident ended or began again.
ALTER TABLE tickets ADD COLUMN turned_at INTEGER;
-- The state that it was in when it was last written to, and since when that is known; NULL: it never was.
ALTER TABLE tickets ADD COLUMN status TEXT;
ALTER TABLE tickets ADD COLUMN status_at INTEGER;
-- When it is to be decided whether it is told something: 0 is now, NULL never.
ALTER TABLE tickets ADD COLUMN look INTEGER;
-- The ticket that the incident had before, in the same backend.
ALTER TABLE tickets ADD COLUMN former INTEGER;
CREATE INDEX tickets_to_look_at ON tickets (backend, look) WHERE look IS NOT NULL;
CREATE INDEX tickets_by_former ON tickets (former) WHERE former IS NOT NULL;

-- One thing that is done to a ticket after it was made. What has the name of a column of steps means what it means there.
CREATE TABLE updates (
    -- Of one ticket's the smallest that isn't finished is the next.
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    ticket      INTEGER NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    incident    INTEGER NOT NULL,
    backend     TEXT    NOT NULL,
    -- In which order those that wait have their turn: 1 closes or opens a ticket, 2 is a comment.
    level       INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    doubt       INTEGER NOT NULL,
    certain     INTEGER NOT NULL DEFAULT 0,
    settled     INTEGER NOT NULL,
    due         INTEGER,
    expires     INTEGER NOT NULL,
    lease       INTEGER NOT NULL,
    tries       INTEGER NOT NULL,
    tried_before INTEGER NOT NULL,
    settle      INTEGER NOT NULL,
    accepted    INTEGER NOT NULL,
    seen        INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL,
    failure     TEXT,
    -- comment, close or reopen
    action      TEXT    NOT NULL,
    -- By what the step's comment is found on the ticket.
    mark        TEXT    NOT NULL,
    -- The incident as it was when the step was made (JSON), and what of that the ticket is told (JSON; NULL: a person wants the step).
    body        TEXT    NOT NULL,
    told        TEXT,
    -- How that differs from what the ticket was told before (JSON).
    diff        TEXT    NOT NULL,
    -- What a person says, in the place of the template.
    said        TEXT,
    -- What came of it, in the ticket system's words: what is not as it was asked for (JSON).
    warnings    TEXT
);
CREATE INDEX updates_by_ticket ON updates (ticket, id);
CREATE INDEX updates_ready ON updates (backend, level, id) WHERE due = 0;
CREATE INDEX updates_due ON updates (due) WHERE due > 0;
CREATE INDEX updates_by_state ON updates (state, backend);

CREATE TABLE update_attempts (
    step       INTEGER NOT NULL REFERENCES updates (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    outcome    TEXT    NOT NULL,
    failure    TEXT,
    PRIMARY KEY (step, number)
) WITHOUT ROWID;
