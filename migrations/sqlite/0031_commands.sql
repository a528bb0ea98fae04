-- Commands for devices, as operators sent them. The number is what the device knows a command by.
CREATE TABLE commands (
    number     INTEGER NOT NULL PRIMARY KEY,
    device     TEXT    NOT NULL REFERENCES devices (id),
    -- `poll`, `reboot`, `set_interval`, `collect_logs`, or what the application calls it.
    name       TEXT    NOT NULL,
    -- A JSON object.
    arguments  TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- When it went to the device first.
    sent_at    INTEGER,
    -- When it was answered, cancelled or void.
    ended_at   INTEGER,
    -- What the device said besides.
    detail     TEXT    NOT NULL
) STRICT;
CREATE INDEX commands_by_device ON commands (device, number);
CREATE INDEX commands_open ON commands (device, number) WHERE ended_at IS NULL;
CREATE INDEX commands_ended ON commands (ended_at) WHERE ended_at IS NOT NULL;

-- What the applications of a product can be asked for.
CREATE TABLE product_commands (
    product     TEXT    NOT NULL REFERENCES products (id),
    name        TEXT    NOT NULL,
    -- A JSON Schema of the arguments.
    schema      TEXT    NOT NULL,
    changed_at  INTEGER NOT NULL,
    PRIMARY KEY (product, name)
) STRICT;
