"""Kinds of source that document tools and APIs, one document per operation."""
