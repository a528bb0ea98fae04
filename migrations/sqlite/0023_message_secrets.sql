-- The secret with which an existing device signs its messages (D23), sealed under a key that is not in
-- the database. NULL: it signs with the key of its certificate.
ALTER TABLE devices ADD COLUMN message_secret BLOB;
