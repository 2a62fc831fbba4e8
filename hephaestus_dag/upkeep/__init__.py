"""Keeping a store in order: verify, rebuild, prune."""
