"""Durable stories on DBOS, one file a story."""
