"""Rules that look at one document alone: whether it was asked to go, its licence and its length."""

from collections.abc import Sequence

import pyarrow as pa

from hephaestus_dag.curation.config import ExclusionConfig
from hephaestus_dag.curation.removed import Verdict, part
from hephaestus_dag.licenses import mentions, permits


class ExclusionRule:
    """Removes what a recipe excludes by name: documents, licences, sources, origins."""

    name = "exclude"

    def __init__(self, config: ExclusionConfig) -> None:
        self._config, self._documents = config, frozenset(config.documents)

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose evidence is the entry of the recipe that excludes the document."""
        columns = [batch.column(name).to_pylist() for name in ("id", "license", "source", "origin")]
        licenses = {each: self._license(each) for each in set(columns[1])}
        verdicts = [self._verdict(i, licenses[license], s, o) for i, license, s, o in zip(*columns, strict=True)]
        return part(batch, self.name, verdicts)

    def _license(self, expression: str) -> str | None:
        return next((each for each in self._config.licenses if mentions(expression, each)), None)

    def _verdict(self, identity: str, license: str | None, source: str, origin: str) -> Verdict | None:
        if identity in self._documents:
            return Verdict("the recipe excludes the document", identity)
        if license:
            return Verdict("the recipe excludes the licence", license)
        if source in self._config.sources:
            return Verdict("the recipe excludes the source", source)
        begin = next((each for each in self._config.origins if origin.startswith(each)), None)
        return Verdict("the recipe excludes the origin", begin) if begin else None


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
