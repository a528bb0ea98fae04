-- Who is told of rollouts. The secret with which messages are signed is not in the database: it
-- follows from a key in the folder of secrets, and from the name, which is never given again.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY NOT NULL,
    url TEXT NOT NULL,
    kinds TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- What they are told: a row in the transaction of what happened, until long after it was delivered.
CREATE TABLE webhook_deliveries (
    webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    message TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    since INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    outcome TEXT,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (webhook, message)
) STRICT;

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (state, due_at);

-- When somebody was asked to agree that the rollout goes on.
ALTER TABLE rollout_phases ADD COLUMN asked_at INTEGER;
