"""Stories, strategies and real-server fixtures (development only)."""
