-- How often the device's user put the release off, and before when it is not offered again: because of
-- that, or because a download failed.
ALTER TABLE deployments ADD COLUMN deferred INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;
