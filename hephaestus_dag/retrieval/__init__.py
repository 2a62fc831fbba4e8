"""Retrieval of agent pages from a web corpus: a dense encoder, a FAISS index, seed documents as queries."""
