-- The last telemetry of each device that the log has forgotten: what a device said last is shown however
-- long ago that was. Written when the log forgets it, so that it is there once.
CREATE TABLE last_telemetry (
    device      TEXT    PRIMARY KEY,
    position    INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    signed_by   TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    envelope    BLOB    NOT NULL
) STRICT;
