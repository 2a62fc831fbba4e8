"""What a run of a recipe would take, before it is run: tokens, FLOP, GPU-hours, memory, disk, and which inputs are missing.

``python -m hephaestus_dag.costs paper --gpu A100-40GB``; as functions: `estimate.estimate` and `show.as_json`.
"""
