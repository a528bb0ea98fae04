-- When a certificate was revoked, for the revocation list (CRL); NULL unless status = 'revoked'.
ALTER TABLE certificates ADD COLUMN revoked_at INTEGER;
UPDATE certificates SET revoked_at = (SELECT changed_at FROM devices WHERE devices.id = device)
    WHERE status = 'revoked';
-- The list is made of these few rows, not of a walk through every certificate ever issued.
CREATE INDEX certificates_revoked ON certificates (revoked_at) WHERE revoked_at IS NOT NULL;
