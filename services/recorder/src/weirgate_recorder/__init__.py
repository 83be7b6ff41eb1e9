"""The read model, replay and proof of the log."""
