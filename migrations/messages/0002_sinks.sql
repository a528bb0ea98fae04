-- Sinks: how far each of them is in the log, and what it did not take.
CREATE TABLE sinks (
    name  TEXT    PRIMARY KEY,
    -- Every message up to here was taken, is a dead letter, or is not for this sink.
    taken INTEGER NOT NULL,
    -- Messages up to here may have been sent: what is sent again carries a mark.
    sent  INTEGER NOT NULL
) STRICT;

-- A copy of each message that a sink refused, or failed at too often: it is kept when the log forgets it.
CREATE TABLE dead_letters (
    sink        TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    device      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    signed_by   TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    envelope    BLOB    NOT NULL,
    reason      TEXT    NOT NULL,
    tries       INTEGER NOT NULL,
    died_at     INTEGER NOT NULL,
    -- 1 once somebody asked to send it again.
    asked       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, position)
) STRICT;
CREATE INDEX dead_letters_asked ON dead_letters (sink, position) WHERE asked = 1;
