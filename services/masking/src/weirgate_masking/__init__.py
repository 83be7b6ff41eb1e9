"""Plans what of an answer is masked."""
