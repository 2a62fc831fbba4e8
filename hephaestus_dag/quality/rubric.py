"""Rubrics: the written question that an annotator answers about a document, versioned by name and identified by hash."""

import hashlib
import importlib.resources
from dataclasses import dataclass
from pathlib import Path

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
    packaged = importlib.resources.files("hephaestus_dag.quality") / "rubrics" / f"{name}.txt"
    if packaged.is_file():
        text = packaged.read_text(encoding="utf-8")
    elif Path(name).is_file():
        text = Path(name).read_text(encoding="utf-8")
    else:
        raise FileNotFoundError(f"rubric {name!r} is neither packaged nor a file; packaged: {', '.join(packaged_rubrics())}")
    if text.count(PLACEHOLDER) != 1:
        raise ValueError(f"rubric {name!r} must contain {PLACEHOLDER} exactly once, where the document goes")
    return Rubric(Path(name).stem, text.strip())


def packaged_rubrics() -> list[str]:
    """Return the names of the rubrics that come with the library."""
    folder = importlib.resources.files("hephaestus_dag.quality") / "rubrics"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".txt"))
