"""The outside world as Dagster resources: the store, local compute, launchers and the trainer."""
