"""Life-cycle, settings, log, ids and health of a service."""
