"""Quality of retrieved pages: a language model annotates a sample, fastText learns from it and scores the rest."""
