"""How good the models are: official benchmark checkers, loss on reference answers, and honest intervals around both."""
