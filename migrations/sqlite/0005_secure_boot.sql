-- Secure Boot v2: the keys of a product, and by which keys each image is signed (eFuse digests).
ALTER TABLE products ADD COLUMN secure_boot TEXT NOT NULL DEFAULT '{"required":false}';
ALTER TABLE images ADD COLUMN signed_by TEXT NOT NULL DEFAULT '[]';
