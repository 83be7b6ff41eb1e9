"""Web, REST and tokens: the only other door."""
