-- Who refers to a certificate: asked before one that was never used is deleted, and by the deletion
-- itself. Without these it would read every report.
CREATE INDEX reports_by_serial ON reports (serial);
CREATE INDEX tokens_by_serial ON tokens (serial);
