"""A development split for function calling: items to choose settings by, so that BFCL is asked only in the end."""
