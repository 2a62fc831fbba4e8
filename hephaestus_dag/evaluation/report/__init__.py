"""One report over all models: the paper's tables with our numbers and intervals, and the way from each number to its data."""

from hephaestus_dag.evaluation.report.entrant import Entrant, Link, Stage
from hephaestus_dag.evaluation.report.write import write_report

__all__ = ["Entrant", "Link", "Stage", "write_report"]
