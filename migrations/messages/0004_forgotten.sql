-- When the last of the messages was received that the log has forgotten, in Unix milliseconds. Their ids are
-- gone with them, so what may be a copy of one of them is not taken in.
CREATE TABLE forgotten (
    received_at INTEGER NOT NULL
) STRICT;
INSERT INTO forgotten (received_at) VALUES (0);
