"""The database's schema, version by version; `Database.open` brings a database up to the last."""
