"""Documents that a program or a model makes, always marked as synthetic."""
