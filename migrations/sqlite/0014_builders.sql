-- Who may have built the releases of a product, by the ids that provenance names; empty: anybody.
ALTER TABLE products ADD COLUMN builders TEXT NOT NULL DEFAULT '[]';
