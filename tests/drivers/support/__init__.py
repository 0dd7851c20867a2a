"""What the tests of drivers stand on: a PostgreSQL, greenrooms in front of it, and the two sides that are compared."""
