"""Numbers that know how well they are known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Amount:
    """A number that follows from the recipe, a bound on it (``≤``), one that rests on an assumption (``~``), or none at all."""

    value: float | None
    kind: Literal["", "≤", "~"] = ""
    reason: str = ""
    """Why there is no value."""

    def __mul__(self, other: "Amount | float") -> "Amount":
        return self._joined(other, lambda a, b: a * b)

    def __add__(self, other: "Amount | float") -> "Amount":
        return self._joined(other, lambda a, b: a + b)

    def _joined(self, other: "Amount | float", operation: Callable[[float, float], float]) -> "Amount":
        right = other if isinstance(other, Amount) else Amount(other)
        if self.value is None or right.value is None:
            return self if self.value is None else right
        return Amount(operation(self.value, right.value), _looser(self.kind, right.kind))

    def capped(self, other: "Amount | float") -> "Amount":
        """Return the smaller of two upper bounds; what is not known bounds nothing."""
        right = other if isinstance(other, Amount) else Amount(other)
        known = [each for each in (self, right) if each.value is not None]
        if not known:
            return self
        least = min(known, key=lambda each: each.value or 0)
        return Amount(least.value, _looser(least.kind, "≤"))


def at_most(value: float) -> Amount:
    """Return an upper bound."""
    return Amount(value, "≤")


def about(value: float) -> Amount:
    """Return a value that rests on an assumption."""
    return Amount(value, "~")


def unknown(reason: str) -> Amount:
    """Return what cannot be known before the run."""
    return Amount(None, "", reason)


NOTHING = Amount(0.0)


def total(amounts: list[Amount]) -> tuple[Amount, int]:
    """Return the sum of the known amounts, and how many are not known."""
    found = NOTHING
    for amount in amounts:
        if amount.value is not None:
            found = found + amount
    return found, sum(amount.value is None for amount in amounts)


def _looser(first: Literal["", "≤", "~"], second: Literal["", "≤", "~"]) -> Literal["", "≤", "~"]:
    return "~" if "~" in (first, second) else first or second
