"""From a score back to documents, and from a document on to scores: questions to the manifests and ledgers of a store."""
