-- Rules that operators changed, as JSON. A rule without a row is as it usually is: on.
CREATE TABLE alert_rules (
    name TEXT PRIMARY KEY NOT NULL,
    settings TEXT NOT NULL,
    revision INTEGER NOT NULL,
    changed_by TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

-- Alerts: pending and firing ones, of which there are so many at most, and resolved ones for a month.
-- since: of its state; of a resolved one, from when it fired.
CREATE TABLE alerts (
    id TEXT PRIMARY KEY NOT NULL,
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    severity TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    below_since INTEGER,
    resolved_at INTEGER,
    value INTEGER NOT NULL,
    peak INTEGER NOT NULL,
    examples TEXT NOT NULL,
    told_at INTEGER,
    written_at INTEGER NOT NULL
) STRICT;
CREATE INDEX alerts_by_state ON alerts (state, id);
