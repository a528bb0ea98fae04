-- The first tables. Times are Unix milliseconds, lists and maps JSON text, hashes hexadecimal text.

CREATE TABLE products (
    id            TEXT    NOT NULL PRIMARY KEY,
    chip          TEXT    NOT NULL,
    hardware      TEXT    NOT NULL,
    channels      TEXT    NOT NULL,
    slot_bytes    INTEGER NOT NULL,
    image_version TEXT    NOT NULL,
    image_project TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

-- Every metadata file of the Image repositories and the Director's roots, as signed.
CREATE TABLE metadata (
    repository TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    body       BLOB    NOT NULL,
    stored_at  INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) STRICT;

CREATE TABLE images (
    product        TEXT    NOT NULL REFERENCES products (id),
    sha256         TEXT    NOT NULL,
    length         INTEGER NOT NULL,
    version        TEXT,
    project        TEXT,
    secure_version INTEGER,
    uploaded_at    INTEGER NOT NULL,
    PRIMARY KEY (product, sha256)
) STRICT;

-- What the signed role files list. A release that they no longer list keeps its row: listed = 0.
CREATE TABLE releases (
    product          TEXT    NOT NULL REFERENCES products (id),
    channel          TEXT    NOT NULL,
    version          TEXT    NOT NULL,
    path             TEXT    NOT NULL,
    sha256           TEXT    NOT NULL,
    length           INTEGER NOT NULL,
    security_version INTEGER NOT NULL,
    "match"          TEXT    NOT NULL,
    listed           INTEGER NOT NULL,
    changed_at       INTEGER NOT NULL,
    PRIMARY KEY (product, channel, version)
) STRICT;

CREATE TABLE devices (
    id               TEXT    NOT NULL PRIMARY KEY,
    product          TEXT    NOT NULL REFERENCES products (id),
    tags             TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    -- When something that decides what the device should run last changed (D3).
    changed_at       INTEGER NOT NULL,
    -- Written behind, once a second.
    seen_at          INTEGER,
    version          TEXT,
    sha256           TEXT,
    security_version INTEGER
) STRICT;
CREATE INDEX devices_by_product ON devices (product, id);

-- status: current, next (issued, not yet used: D13), old, revoked.
CREATE TABLE certificates (
    serial     TEXT    NOT NULL PRIMARY KEY,
    device     TEXT    NOT NULL REFERENCES devices (id),
    spki       BLOB    NOT NULL,
    der        BLOB    NOT NULL,
    status     TEXT    NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_by_device ON certificates (device);

-- Enrolment tokens by the SHA-256 of their text. serial: the certificate it was spent on.
CREATE TABLE tokens (
    sha256     TEXT    NOT NULL PRIMARY KEY,
    device     TEXT    NOT NULL REFERENCES devices (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    serial     TEXT REFERENCES certificates (serial)
) STRICT;

CREATE TABLE admin_tokens (
    sha256     TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

-- Either a list of devices (members in group_members) or tags that a device must carry.
CREATE TABLE groups (
    id         TEXT    NOT NULL PRIMARY KEY,
    product    TEXT    NOT NULL REFERENCES products (id),
    tags       TEXT,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES groups (id),
    device   TEXT NOT NULL REFERENCES devices (id),
    PRIMARY KEY (group_id, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollouts (
    id              TEXT    NOT NULL PRIMARY KEY,
    product         TEXT    NOT NULL REFERENCES products (id),
    channel         TEXT    NOT NULL,
    version         TEXT    NOT NULL,
    group_id        TEXT    NOT NULL REFERENCES groups (id),
    healthy_percent INTEGER NOT NULL,
    failed_percent  INTEGER NOT NULL,
    soak_s          INTEGER NOT NULL,
    seed            BLOB    NOT NULL,
    state           TEXT    NOT NULL,
    reason          TEXT,
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    -- When the state last changed, part of the decision's time (D3).
    changed_at      INTEGER NOT NULL,
    FOREIGN KEY (product, channel, version) REFERENCES releases (product, channel, version)
) STRICT;

-- cutoff: the highest hash(seed, device) of the phase, fixed when it starts (D26).
CREATE TABLE rollout_phases (
    rollout    TEXT    NOT NULL REFERENCES rollouts (id),
    phase      INTEGER NOT NULL,
    percent    INTEGER NOT NULL,
    started_at INTEGER,
    cutoff     BLOB,
    PRIMARY KEY (rollout, phase)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
    rollout    TEXT    NOT NULL REFERENCES rollouts (id),
    device     TEXT    NOT NULL REFERENCES devices (id),
    state      TEXT    NOT NULL,
    code       INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (rollout, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX deployments_by_device ON deployments (device);

-- Evidence (D25): each report as sent, with the certificate whose key it was checked against.
CREATE TABLE reports (
    device         TEXT    NOT NULL REFERENCES devices (id),
    message_id     TEXT    NOT NULL,
    payload_sha256 TEXT    NOT NULL,
    rollout        TEXT    NOT NULL,
    serial         TEXT    NOT NULL REFERENCES certificates (serial),
    -- 1: it moved its deployment. 0: late, out of order or contradictory; kept, counted, not applied.
    applied        INTEGER NOT NULL,
    received_at    INTEGER NOT NULL,
    envelope       BLOB    NOT NULL,
    PRIMARY KEY (device, message_id)
) STRICT;
CREATE INDEX reports_by_rollout ON reports (rollout, device, received_at);

-- Ids of accepted telemetry, for as long as a copy would still be fresh.
CREATE TABLE messages (
    device         TEXT    NOT NULL,
    message_id     TEXT    NOT NULL,
    payload_sha256 TEXT    NOT NULL,
    received_at    INTEGER NOT NULL,
    PRIMARY KEY (device, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_by_time ON messages (received_at);

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    detail  TEXT    NOT NULL
) STRICT;
