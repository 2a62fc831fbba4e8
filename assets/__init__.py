"""The graph: one module per group of the paper's figure; each asset reads, calls the library and returns a report."""
