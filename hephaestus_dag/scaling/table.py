"""The usable runs as arrays, and what they say about the noise of one run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hephaestus_dag.scaling.runs import Run

Array = np.ndarray

MIN_RUNS = 8
MIN_RATIOS = 3
# Decay of the value of repeated tokens, in epochs (arXiv 2305.16264).
REPETITION_DECAY = 15.4


def effective_share(share: Array, tokens: Array, unique: Array) -> Array:
    """Return the share that fresh tokens of equal worth would have (arXiv 2305.16264).

    Args:
        share: the domain's share of the training tokens.
        tokens: training tokens.
        unique: distinct tokens of the domain; infinity where nothing repeats.
    """
    epochs_beyond = np.maximum(share * tokens / unique - 1, 0)
    repeated = REPETITION_DECAY * (1 - np.exp(-epochs_beyond / REPETITION_DECAY))
    return np.where(epochs_beyond > 0, unique / tokens * (1 + repeated), share)


@dataclass(frozen=True, slots=True)
class Table:
    """Runs as arrays: [n] runs, K domains with shares, M losses (NaN where one was not measured)."""

    domains: tuple[str, ...]
    names: tuple[str, ...]
    """Of the losses."""
    params: Array
    tokens: Array
    flops: Array
    shares: Array
    """[n, K]"""
    unique: Array
    """[n, K]; infinity where nothing repeats."""
    losses: Array
    """[n, M]"""
    run: Array
    """[n]: rows with the same number are checkpoints of one run: equal in size, shares and seed."""

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Table":
        """Collect the ``finished`` runs."""
        rows = finished(runs)
        domains = tuple(runs[0].shares)
        names = tuple(dict.fromkeys(name for run in rows for name in run.losses))
        courses = [(run.params, *(round(share, 2) for share in run.shares.values()), run.seed) for run in rows]
        numbers = {course: number for number, course in enumerate(dict.fromkeys(courses))}
        return cls(
            domains=domains,
            names=names,
            params=np.array([run.params for run in rows]),
            tokens=np.array([run.tokens for run in rows]),
            flops=np.array([run.flops for run in rows]),
            shares=np.array([[run.shares[d] for d in domains] for run in rows]).reshape(len(rows), len(domains)),
            unique=np.array([[run.unique.get(d) or np.inf for d in domains] for run in rows]).reshape(len(rows), len(domains)),
            losses=np.array([[run.losses.get(name, np.nan) for name in names] for run in rows]).reshape(len(rows), len(names)),
            run=np.array([numbers[course] for course in courses], dtype=int),
        )

    def where(self, rows: Array) -> "Table":
        """Return the chosen rows."""
        columns = ("params", "tokens", "flops", "shares", "unique", "losses", "run")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    @property
    def effective(self) -> Array:
        """Shares [n, K] after repeated tokens are discounted."""
        return effective_share(self.shares, self.tokens[:, None], self.unique)

    @property
    def axis(self) -> int | None:
        """The domain whose share alone tells the mixtures apart, the others keeping their proportions; None if none does.

        Of two domains that both could be it, the first that the table names.
        """
        for domain in range(len(self.domains)):
            rest = np.delete(self.shares, domain, axis=1)
            total = rest.sum(1)
            others = total > 1e-9  # where this domain is all there is, the others have no proportions to keep
            if np.ptp(self.shares[:, domain]) < 1e-3 or not others.any():
                continue
            if np.ptp(rest[others] / total[others, None], axis=0).max() <= 0.02:
                return domain
        return None

    @property
    def ratios(self) -> Array:
        """The varied share of each run, [n], to two digits: what a budget makes of a ratio differs by a sequence or so."""
        return np.round(self.shares[:, self.axis or 0], 2)

    @property
    def repeated_runs(self) -> int:
        """Runs beyond the first of each size and mixture; the token budgets of a run count once."""
        first = np.unique(self.run, return_index=True)[1]
        points = np.column_stack([self.params[first], np.round(self.shares[first], 2)])
        return len(first) - len(np.unique(points, axis=0))

    @property
    def discount(self) -> Array:
        """Standard deviation [n] of each row in units of a run's noise.

        The m checkpoints of one run say little more than its last one, and the less the earlier they are, above all before
        the learning rate has fallen: their variance is 1 + (m - 1) ln(last tokens / tokens)^2.
        """
        last, count = np.zeros(self.run.max() + 1), np.bincount(self.run)
        np.maximum.at(last, self.run, self.tokens)
        return np.sqrt(1 + (count[self.run] - 1) * np.log(last[self.run] / self.tokens) ** 2)


def finished(runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose status is ``ok``, sorted by size, tokens, shares and seed: the rows of their table."""
    return sorted((run for run in runs if run.status == "ok"), key=lambda run: (*run.point, run.seed, run.cell))


def usable(runs: Sequence[Run]) -> Table:
    """Return the finished runs, if a law can be fitted to them at all.

    Raises:
        ValueError: no losses, too few runs, or mixtures that do not differ enough; the message says what to add.
    """
    table = Table.of(runs)
    if not table.names:
        raise ValueError("no run has a loss: the table needs columns loss_<domain>")
    if len(table.params) < MIN_RUNS:
        raise ValueError(f"{len(table.params)} usable runs of {len(runs)}: a law needs at least {MIN_RUNS}; train more cells")
    mixtures = np.unique(np.round(table.shares, 4), axis=0)
    if len(mixtures) == 1:
        shares = ", ".join(f"{d} {share:.3g}" for d, share in zip(table.domains, mixtures[0], strict=True) if share)
        raise ValueError(f"all runs have one mixture ({shares}): its effect cannot be told; add cells at other ratios")
    if len(mixtures) < MIN_RATIOS:
        raise ValueError(f"only {len(mixtures)} mixtures: a minimum needs at least {MIN_RATIOS}; add cells at other ratios")
    return table


def seed_noise(table: Table) -> tuple[Array, int]:
    """Return the covariance [M, M] of the losses between seeds, pooled over repeated points, and the number of repeats."""
    points = np.column_stack([table.params, table.tokens, np.round(table.shares, 6)])
    _, group = np.unique(points, axis=0, return_inverse=True)
    group = group.reshape(-1)
    repeats = len(group) - int(group.max() + 1)
    if not repeats:
        return np.zeros((len(table.names),) * 2), 0
    members = (group == np.arange(group.max() + 1)[:, None]).astype(float)
    measured = np.isfinite(table.losses).astype(float)
    means = members @ np.nan_to_num(table.losses) / np.maximum(members @ measured, 1)
    deviations = np.nan_to_num(table.losses - means[group])
    # A loss that only some repeats have counts by its own; the root keeps the matrix a covariance.
    own = np.sqrt(np.maximum(measured.sum(0) - (members @ measured > 0).sum(0), 1))
    return deviations.T @ deviations / np.outer(own, own), repeats
