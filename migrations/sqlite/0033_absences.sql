-- When the server was away, in Unix milliseconds: what devices said then, nobody heard, and it is no silence.
-- A hundred at most; those that no rule reaches back to are forgotten at the next start.
CREATE TABLE absences (
    from_ms INTEGER PRIMARY KEY,
    to_ms   INTEGER NOT NULL
) STRICT;
