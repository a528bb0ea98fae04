-- Certificates with which operators listen to devices over MQTT. One that is not here is good for
-- nothing, whoever signed it.
CREATE TABLE operator_certificates (
    serial     TEXT    NOT NULL PRIMARY KEY,
    operator   TEXT    NOT NULL,
    issued_at  INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX operator_certificates_by_operator ON operator_certificates (operator, serial);
