-- D10: how many of a thousand devices may install a release at most, as signed; NULL: all.
ALTER TABLE releases ADD COLUMN ceiling_permille INTEGER;
