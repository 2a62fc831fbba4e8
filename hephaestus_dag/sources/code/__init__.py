"""Kinds of source that hold source code."""
