"""Kinds of source that hold prose, pages, and rows of text."""
