-- The message log: what devices said, raw, in the order in which it was acknowledged. A database of
-- its own: a flood of telemetry waits for its own disk writes, and its size has a limit of its own.
CREATE TABLE messages (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    device      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    -- Serial number of the certificate whose key signed it.
    signed_by   TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    envelope    BLOB    NOT NULL,
    -- No id is used twice (D24).
    UNIQUE (device, message_id)
) STRICT;
CREATE INDEX messages_by_device ON messages (device, position);
