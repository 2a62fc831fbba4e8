"""How dialogues become trajectories: turns, declared tools, calls in their notations, and what makes them valid."""
