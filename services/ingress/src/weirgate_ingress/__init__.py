"""The wire gates: reads operations, asks, acts."""
