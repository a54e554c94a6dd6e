-- Incidents, the tickets that they have or are to have, and the making of each, as in SQLite's tables (../0003_certain.sql says what the columns mean).
-- What is called _at is milliseconds since 1970, for people; all other times are milliseconds of the store's own time, which is the database's clock.
CREATE TABLE incidents (
    id     BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source TEXT    NOT NULL,
    number TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    began  TEXT    NOT NULL,
    body   TEXT    NOT NULL,
    wanted BOOLEAN NOT NULL,
    tell   BIGINT  NOT NULL,
    UNIQUE (source, number)
);
CREATE INDEX incidents_to_tell ON incidents (id) WHERE tell = 2;

CREATE TABLE tickets (
    id      BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    backend TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    ticket  TEXT,
    made    BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE (key, backend)
);

CREATE TABLE assignments (
    incident BIGINT NOT NULL REFERENCES incidents (id) ON DELETE CASCADE,
    slot     TEXT   NOT NULL,
    ticket   BIGINT NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    PRIMARY KEY (incident, slot)
);
CREATE INDEX assignments_by_ticket ON assignments (ticket);

CREATE TABLE steps (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket       BIGINT NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    incident     BIGINT NOT NULL,
    backend      TEXT   NOT NULL,
    level        BIGINT NOT NULL,
    state        TEXT   NOT NULL,
    doubt        BIGINT NOT NULL,
    certain      BIGINT NOT NULL,
    settled      BIGINT NOT NULL,
    due          BIGINT,
    expires      BIGINT NOT NULL,
    lease        BIGINT NOT NULL,
    tries        BIGINT NOT NULL,
    tried_before BIGINT NOT NULL,
    settle       BIGINT NOT NULL,
    accepted     BIGINT NOT NULL,
    seen         BIGINT NOT NULL,
    accepted_at  BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    failure      TEXT
);
CREATE UNIQUE INDEX steps_by_ticket ON steps (ticket);
CREATE INDEX steps_ready ON steps (backend, certain, level, id) WHERE due = 0;
CREATE INDEX steps_due ON steps (due) WHERE due > 0;
CREATE INDEX steps_by_state ON steps (state, backend, ticket);

CREATE TABLE attempts (
    step       BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    number     BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL,
    outcome    TEXT   NOT NULL,
    failure    TEXT,
    PRIMARY KEY (step, number)
);

-- One row.
CREATE TABLE clock (
    -- The latest moment that was written down: the store's time doesn't go back, whatever the database's clock does.
    now     BIGINT NOT NULL,
    -- How many server processes, or restored backups, the store has been seen in.
    opening BIGINT NOT NULL,
    -- Which that is now, and since when (of day) it is known: who has the tables since knows all that was made since.
    server  TEXT   NOT NULL,
    since   BIGINT NOT NULL,
    -- What was last asked for before this (of day) may have been removed.
    pruned  BIGINT NOT NULL
);
INSERT INTO clock VALUES (1, 0, '', 0, 0);

CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);

-- When a backend's next request may leave, in microseconds, and until when none may, as its ticket system asked.
CREATE TABLE backends (name TEXT PRIMARY KEY, next BIGINT NOT NULL, paused BIGINT NOT NULL);

-- Who does, until then, what one host does for all.
CREATE TABLE leader (host TEXT NOT NULL, until BIGINT NOT NULL);
INSERT INTO leader VALUES ('', 0);
