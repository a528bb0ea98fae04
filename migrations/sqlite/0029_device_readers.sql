-- Which devices may read what another one says.
CREATE TABLE device_readers (
    device     TEXT    NOT NULL REFERENCES devices (id),
    reader     TEXT    NOT NULL REFERENCES devices (id),
    -- Kinds of messages, as in their topics.
    kinds      TEXT    NOT NULL,
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (device, reader)
) STRICT;
CREATE INDEX device_readers_by_reader ON device_readers (reader);

-- What a session listens to of what other devices say, as topics.
ALTER TABLE mqtt_sessions ADD COLUMN feeds TEXT NOT NULL DEFAULT '[]';
