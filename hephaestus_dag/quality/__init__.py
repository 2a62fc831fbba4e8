"""Quality of retrieved pages: a language model annotates a sample, a fastText classifier scores the rest, a threshold decides."""
