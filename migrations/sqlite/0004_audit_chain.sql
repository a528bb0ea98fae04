-- The audit log as a hash chain (protocol/audit): the hash of each row, the name and the end of the
-- log, and what was signed about it. Rows that are there are chained once, when the server starts.
ALTER TABLE audit ADD COLUMN hash TEXT;

-- hash: empty until the rows that were there are chained.
CREATE TABLE audit_log (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    origin TEXT    NOT NULL,
    size   INTEGER NOT NULL,
    hash   TEXT    NOT NULL
) STRICT;
INSERT INTO audit_log VALUES (1, 'waxwing-audit-v1/' || lower(hex(randomblob(16))), 0, '');

CREATE TABLE audit_checkpoints (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    size      INTEGER NOT NULL,
    signed_at INTEGER NOT NULL,
    note      TEXT    NOT NULL
) STRICT;
