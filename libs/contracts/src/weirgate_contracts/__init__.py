"""Words the Weirgate services share."""
