-- A group may be a query over devices; then it has neither a list nor tags.
ALTER TABLE groups ADD COLUMN query TEXT;
-- What operators say of a device, and what it said of itself: the one never replaces the other.
ALTER TABLE devices ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE devices ADD COLUMN reported_attributes TEXT NOT NULL DEFAULT '{}';
