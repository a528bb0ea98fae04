-- Polls that gateways carried were sealed up to here, in Unix seconds; only those that were ahead of our clock
-- move it. A server that begins takes none from before this or from before itself: it may have come already.
CREATE TABLE carried_polls (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    sealed_s INTEGER NOT NULL
) STRICT;
