"""Rules that look at one document alone: its licence and its length."""

from collections.abc import Sequence

import pyarrow as pa

from hephaestus_dag.curation.removed import Verdict, part
from hephaestus_dag.licenses import permits


class LicenseRule:
    """Keeps documents under one of the licences that a recipe allows; None allows all."""

    name = "license"

    def __init__(self, allowed: Sequence[str] | None) -> None:
        self._allowed = None if allowed is None else frozenset(allowed)

    def permits(self, expression: str) -> bool:
        """Return whether an SPDX expression is allowed (see `hephaestus_dag.licenses.permits`)."""
        return self._allowed is None or permits(expression, self._allowed)

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose evidence is the licence that is not allowed."""
        licenses: list[str] = batch.column("license").to_pylist()
        verdicts = {each: None if self.permits(each) else Verdict("licence is not allowed", each) for each in set(licenses)}
        return part(batch, self.name, [verdicts[each] for each in licenses])


class LengthRule:
    """Keeps documents of ``low`` to ``high`` characters, both included."""

    name = "length"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose evidence is the length in characters."""
        return part(batch, self.name, [self._verdict(len(text)) for text in batch.column("text").to_pylist()])

    def _verdict(self, length: int) -> Verdict | None:
        if self.low <= length <= self.high:
            return None
        reason = f"shorter than {self.low} characters" if length < self.low else f"longer than {self.high} characters"
        return Verdict(reason, str(length))
