-- SHA-256 of the signed certificates by which a device knows its server, as its last poll said (D15);
-- NULL: those that its firmware came with. Written behind, with what else a poll tells.
ALTER TABLE devices ADD COLUMN pins TEXT;
