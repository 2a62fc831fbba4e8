"""Rubrics: the written question that an annotator answers about a document, versioned by name and identified by hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hephaestus_dag.wordings import load_wording

PLACEHOLDER = "{document}"


@dataclass(frozen=True, slots=True)
class Rubric:
    """A question about a document, with one place for the document."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the wording."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def fill(self, document: str) -> str:
        """Return the question about one document."""
        return self.text.replace(PLACEHOLDER, document, 1)


def load_rubric(name: str) -> Rubric:
    """Return a packaged rubric by name, or the one in a text file.

    Raises FileNotFoundError when there is none, ValueError unless ``{document}`` occurs exactly once.
    """
    text = load_wording("rubric", "hephaestus_dag.quality", "rubrics", name, PLACEHOLDER, "document")
    return Rubric(Path(name).stem, text)
