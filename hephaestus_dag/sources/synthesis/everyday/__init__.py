"""Everyday functions from a packaged catalogue, and requests that carry the values of their arguments."""
