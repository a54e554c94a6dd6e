-- Who did what, for people. Rows are added and never changed; the newest hundred thousand are kept.
CREATE TABLE audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Milliseconds since 1970.
    at     INTEGER NOT NULL,
    -- The name of a token or of a user of the machine, as far as that is known.
    who    TEXT    NOT NULL,
    -- By which way: cli, api, console, or config for what the service read itself.
    way    TEXT    NOT NULL,
    -- What was done: retry, cancel, adopt and so on.
    what   TEXT    NOT NULL,
    -- To which ticket.
    ticket INTEGER,
    -- What else there is to say.
    detail TEXT    NOT NULL
);
CREATE INDEX audit_by_ticket ON audit (ticket, id) WHERE ticket IS NOT NULL;
