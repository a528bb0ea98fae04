-- How many devices without the image of a rollout were back in an hour after half an hour or more without
-- contact: devices that went back for want of contact around that hour are no evidence.
CREATE TABLE contact_lost (
    rollout TEXT NOT NULL REFERENCES rollouts (id),
    -- Hours since 1970.
    hour INTEGER NOT NULL,
    devices INTEGER NOT NULL,
    PRIMARY KEY (rollout, hour)
) STRICT, WITHOUT ROWID;
