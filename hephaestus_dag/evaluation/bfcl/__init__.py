"""The Berkeley Function-Calling Leaderboard: its official prompts and checkers around our own generation."""
