-- Which devices may carry what another one says, and its firmware.
CREATE TABLE device_gateways (
    device     TEXT    NOT NULL REFERENCES devices (id),
    gateway    TEXT    NOT NULL REFERENCES devices (id),
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (device, gateway)
) STRICT;
CREATE INDEX device_gateways_by_gateway ON device_gateways (gateway);
