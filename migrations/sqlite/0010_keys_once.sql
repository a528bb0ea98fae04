-- Whether a key was certified before, for this or another device: asked before each certificate.
CREATE INDEX certificates_by_key ON certificates (spki);
