-- The list of an image's chunks (D8): its SHA-256; the bytes are among the images. NULL for what was
-- uploaded before there were lists.
ALTER TABLE images ADD COLUMN chunks TEXT;
ALTER TABLE releases ADD COLUMN chunks TEXT;
