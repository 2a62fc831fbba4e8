"""Kinds of source that hold trajectories: requests, calls of tools and what came back."""
