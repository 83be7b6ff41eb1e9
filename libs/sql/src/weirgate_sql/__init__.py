"""What a SQL statement reads, writes and can do."""
