-- What operators say of a group.
ALTER TABLE groups ADD COLUMN description TEXT NOT NULL DEFAULT '';
