"""EC2's API, as Amazon and the clouds that imitate it speak it."""
