"""What API and console share at the HTTP edge."""
