-- Mail about alerts on its way: a row for each message and recipient, in the transaction of what it tells,
-- until a month after its end.
CREATE TABLE mails (
    message TEXT NOT NULL,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    written_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    since INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    outcome TEXT,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (message, recipient)
) STRICT;
CREATE INDEX mails_due ON mails (state, due_at);
