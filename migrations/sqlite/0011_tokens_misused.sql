-- When it was last noted in the audit log that a spent token came with another key.
ALTER TABLE tokens ADD COLUMN misused_at INTEGER;
