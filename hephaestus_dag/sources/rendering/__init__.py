"""The formats in which a reader meets the documentation of an operation."""
