"""Manual pages: from roff, as man and mdoc pages are written, to blocks of text, and from these to a page to read."""
