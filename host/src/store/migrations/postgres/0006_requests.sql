-- What a try asked the ticket system for, and what came of it (JSON, sent.rs); NULL: nothing, or nobody noted it.
ALTER TABLE attempts ADD COLUMN requests TEXT;
ALTER TABLE update_attempts ADD COLUMN requests TEXT;
