-- The token that an operator had before, for as long as it overlaps with the present one.
ALTER TABLE admin_tokens ADD COLUMN previous_sha256 TEXT;
ALTER TABLE admin_tokens ADD COLUMN previous_until INTEGER;
