"""SQLModel tables and their constraints: no queries."""
