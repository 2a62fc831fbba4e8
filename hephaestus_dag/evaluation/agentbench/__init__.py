"""AgentBench: a model acts in environments, turn by turn, by the text protocol of v0.2."""
