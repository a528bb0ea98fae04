-- MQTT sessions that outlive their connections, and the commands that wait in them. A device that
-- wants nothing kept has no row.
CREATE TABLE mqtt_sessions (
    device       TEXT    NOT NULL PRIMARY KEY,
    -- The connection that has it, or had it last.
    connection   INTEGER NOT NULL,
    -- For how long it is kept without a connection.
    expiry_s     INTEGER NOT NULL,
    -- When its connection ended; none while there is one.
    away_at      INTEGER,
    -- QoS of the subscription to the commands; none without one.
    subscription INTEGER,
    -- Ids of messages with QoS 2 that were taken and not released.
    taken        TEXT    NOT NULL
) STRICT;

CREATE TABLE mqtt_commands (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    device     TEXT    NOT NULL REFERENCES mqtt_sessions (device) ON DELETE CASCADE,
    -- The MQTT packet that it travels in, on every connection the same.
    packet     INTEGER NOT NULL,
    payload    BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    -- 1 if it may have been sent before.
    sent       INTEGER NOT NULL,
    UNIQUE (device, packet)
) STRICT;
CREATE INDEX mqtt_commands_expiry ON mqtt_commands (expires_at);
