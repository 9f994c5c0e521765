"""The one linear history of the schema, for SQLite and PostgreSQL alike. A released revision is never edited."""
