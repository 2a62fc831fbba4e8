"""What a run took beside what was planned for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hephaestus_dag.costs.amount import Amount
from hephaestus_dag.costs.book import Measured
from hephaestus_dag.costs.estimate import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An amount before and after."""

    planned: Amount
    actual: float | None

    @property
    def ratio(self) -> float | None:
        """Actual / planned; None where either is not known or nothing was planned."""
        return self.actual / self.planned.value if self.actual is not None and self.planned.value else None


def compare(planned: Estimate, measured: Mapping[str, Measured]) -> dict[str, dict[str, Pair]]:
    """Return planned and actual amounts of every asset that was built, by key and name.

    ``planned`` must be an estimate made without the store. Time, in hours of the device, is planned from FLOP alone: reading,
    curating, generating and starting processes are not in them.
    """
    found = {}
    for key, cost in planned.costs.items():
        if there := measured.get(key):
            found[key] = {
                "documents": Pair(planned=cost.documents, actual=_positive(there.documents)),
                "tokens": Pair(planned=cost.tokens, actual=_positive(there.tokens)),
                "disk": Pair(planned=cost.disk, actual=there.num_bytes),
                "time": Pair(planned=planned.time(cost), actual=there.seconds * cost.processes / 3600),
            }
    return found


def sums(pairs: Iterable[Pair]) -> Pair:
    """Return the totals of those pairs of which both sides are known."""
    both = [(pair.planned, pair.actual) for pair in pairs if pair.ratio is not None and pair.actual is not None]
    planned = Amount(sum(amount.value or 0 for amount, _ in both), "~" if any(amount.kind for amount, _ in both) else "")
    return Pair(planned=planned, actual=sum(actual for _, actual in both))


def _positive(value: float | None) -> float | None:
    return value or None
