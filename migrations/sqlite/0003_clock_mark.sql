-- The Director's clock mark (D5), as last kept in its file outside the database. A database that knows
-- an older one than the file was restored from a backup, and lacks decisions that devices have (D3).
CREATE TABLE clock_mark (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    wall_ms INTEGER NOT NULL
) STRICT;
