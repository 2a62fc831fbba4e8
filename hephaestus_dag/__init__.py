"""Hephaestus: continual pre-training of language models into agents, as one graph of artifacts."""
