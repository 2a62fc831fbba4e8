"""How far each run lies off the law, and which lie so far off that something else than noise must be behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hephaestus_dag.scaling.law import Law
from hephaestus_dag.scaling.runs import Run
from hephaestus_dag.scaling.table import Array, finished

FAR = 4.0  # of 400 residuals that are noise alone, one in forty tables has one beyond it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlier:
    """One loss of one run that lies far off the law."""

    place: str
    """Where the run stands in its file."""
    cell: str
    loss: str
    measured: float
    predicted: float
    residual: float
    """Measured minus predicted, in standard deviations of one run."""


def residuals(law: Law) -> Array:
    """Return measured minus predicted losses [n, M] in standard deviations of one run; NaN where one was not measured."""
    table = law.table
    off = table.losses - law.predict(table.params, table.tokens, table.effective)
    return off / table.discount[:, None] / np.sqrt(np.diag(law.covariance))


def outliers(law: Law, runs: Sequence[Run]) -> list[Outlier]:
    """Return what lies more than ``FAR`` off, the farthest first; ``runs`` are those that the law was fitted to."""
    table, rows, off = law.table, finished(runs), residuals(law)
    predicted = law.predict(table.params, table.tokens, table.effective)
    far = np.argwhere(np.nan_to_num(np.abs(off)) > FAR)
    return [
        Outlier(
            place=rows[row].place,
            cell=rows[row].cell,
            loss=table.names[loss],
            measured=float(table.losses[row, loss]),
            predicted=float(predicted[row, loss]),
            residual=float(off[row, loss]),
        )
        for row, loss in sorted(far.tolist(), key=lambda at: -abs(off[tuple(at)]))
    ]
