"""What a run of a recipe would reuse, build and take, before it is run; and what it took, afterwards.

``hephaestus plan paper --device A100-40GB``; as functions: `estimate.estimate`, `standing.standings`, `actual.compare` and
`record.as_json`.
"""
