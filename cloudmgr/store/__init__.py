"""All SQL outside quotas/, one module per noun: no decisions."""
