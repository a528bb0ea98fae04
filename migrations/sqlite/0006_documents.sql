-- SBOMs and provenance, as uploaded; what a role lists of them; and what SBOMs say is in a release.
CREATE TABLE documents (
    product     TEXT    NOT NULL REFERENCES products (id),
    sha256      TEXT    NOT NULL,
    format      TEXT    NOT NULL,
    length      INTEGER NOT NULL,
    -- Provenance: hashes of what was built.
    subjects    TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    uploaded_at INTEGER NOT NULL,
    PRIMARY KEY (product, sha256)
) STRICT;

CREATE TABLE components (
    product  TEXT NOT NULL,
    document TEXT NOT NULL,
    name     TEXT NOT NULL,
    version  TEXT,
    purl     TEXT,
    cpe      TEXT,
    FOREIGN KEY (product, document) REFERENCES documents (product, sha256)
) STRICT;
CREATE INDEX components_by_name ON components (product, name);
CREATE INDEX components_by_purl ON components (product, purl);

CREATE TABLE release_documents (
    product  TEXT NOT NULL,
    channel  TEXT NOT NULL,
    version  TEXT NOT NULL,
    format   TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (product, channel, version, format),
    FOREIGN KEY (product, channel, version) REFERENCES releases (product, channel, version),
    FOREIGN KEY (product, document) REFERENCES documents (product, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX release_documents_by_document ON release_documents (product, document);

-- Which devices run an image.
CREATE INDEX devices_by_image ON devices (product, sha256, id);

-- Formats that every release of a channel must come with: a map of channels to lists.
ALTER TABLE products ADD COLUMN required_documents TEXT NOT NULL DEFAULT '{}';
