-- What an SBOM holds, as a list, and who says to have built something: components get rows of their own
-- once signed metadata lists their document, not for every upload.
ALTER TABLE documents ADD COLUMN components TEXT NOT NULL DEFAULT '[]';
ALTER TABLE documents ADD COLUMN builders TEXT NOT NULL DEFAULT '[]';
CREATE INDEX components_by_document ON components (product, document);
