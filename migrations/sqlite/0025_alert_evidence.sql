-- When a device last said something by a message; written behind, minutes later. Polls are in seen_at.
ALTER TABLE devices ADD COLUMN heard_at INTEGER;

-- What alerts count every few seconds. Each holds only what is wrong, or is written when a device enrols.
CREATE INDEX deployments_ended_badly ON deployments (changed_at)
    WHERE state IN ('failed', 'rolled_back', 'timed_out');
CREATE INDEX certificates_in_use ON certificates (expires_at) WHERE status = 'current';
CREATE INDEX tokens_misused ON tokens (misused_at) WHERE misused_at IS NOT NULL;

-- Of what nobody is told for a while.
CREATE TABLE alert_silences (
    id TEXT PRIMARY KEY NOT NULL,
    rule TEXT,
    subject TEXT,
    until INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
