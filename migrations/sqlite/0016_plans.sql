-- The whole plan of a rollout is one document; it never changes once the rollout is drafted.
ALTER TABLE rollouts ADD COLUMN plan TEXT NOT NULL DEFAULT '{}';
-- Rises with whatever happens to the rollout: a decision made for another one is stale.
ALTER TABLE rollouts ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN extended_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
ALTER TABLE rollout_phases ADD COLUMN approved_by TEXT;
ALTER TABLE rollout_phases ADD COLUMN approved_at INTEGER;

UPDATE rollouts SET plan = json_object('phases', (
    SELECT json_group_array(json_object(
        'size', json_object('percent', percent),
        'gate', json_object(
            'healthy_permille', 10 * healthy_percent,
            'failed_permille', 10 * failed_percent,
            'soak_s', soak_s)))
    FROM (SELECT percent FROM rollout_phases WHERE rollout = id ORDER BY phase)));

ALTER TABLE rollouts DROP COLUMN healthy_percent;
ALTER TABLE rollouts DROP COLUMN failed_percent;
ALTER TABLE rollouts DROP COLUMN soak_s;
ALTER TABLE rollout_phases DROP COLUMN percent;

-- How often the server offered the release, which one of its route it was, the phase in which the
-- deployment counts, and since when the answer to the device is the same. Of those that began before,
-- nobody wrote down the phase: they count in the first one.
ALTER TABLE deployments ADD COLUMN tries INTEGER NOT NULL DEFAULT 1;
ALTER TABLE deployments ADD COLUMN hop INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN phase INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN decided_at INTEGER NOT NULL DEFAULT 0;
UPDATE deployments SET decided_at = changed_at;
