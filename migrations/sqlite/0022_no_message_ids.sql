-- The ids of telemetry are in the message log now, which is a database of its own.
DROP TABLE messages;
