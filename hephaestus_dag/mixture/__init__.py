"""Tokenizer, token stores, exact mixtures and their loader."""
