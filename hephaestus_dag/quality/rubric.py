"""Rubrics: the written question that an annotator answers about a document, versioned by name and identified by hash.

To write one, put a text file beside the recipe, or into ``rubrics/`` to package it, and name it in the recipe::

    Is the text below a recipe for a dish? Answer Yes if ... Answer No if ...

    Text:
    {document}

    Is this text a recipe? Answer Yes or No.

- ``{document}`` stands once, where the document goes. What comes before it is read once by a local model and what comes after
  it for every document, so the explanation belongs before it and a short question after it.
- It says ``Yes or No`` (or ``No or Yes``), or, for a grade, ``0 to 5``: no other answer counts.
- The name of a packaged rubric ends in its version, ``_v1``. A new wording gets a new version, because answers and results
  name the rubric; the hash makes sure that a file that was edited all the same is asked anew.
- A second wording of the same question, ``_v1_reworded``, shows how far the answers depend on the words: turn the order of the
  parts and of the answers round.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from hephaestus_dag.wordings import load_wording

PLACEHOLDER = "{document}"
YES_OR_NO = re.compile(r"\b(?:yes or no|no or yes)\b", re.IGNORECASE)
GRADE = re.compile(r"\b0 to 5\b")
VERDICTS = {"Yes": 1.0, "No": 0.0}
GRADES = {str(grade): grade / 5 for grade in range(6)}


@dataclass(frozen=True, slots=True)
class Rubric:
    """A question about a document, with one place for the document."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the wording."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def answers(self) -> dict[str, float]:
        """The answers that the question allows, and the score that each gives."""
        yes_or_no, grade = YES_OR_NO.search(self.text), GRADE.search(self.text)
        if bool(yes_or_no) == bool(grade):
            raise ValueError(
                f"rubric {self.name!r} must ask either for 'Yes or No' or for a grade from '0 to 5', in these words"
            )
        return GRADES if grade else VERDICTS

    def fill(self, document: str) -> str:
        """Return the question about one document."""
        return self.text.replace(PLACEHOLDER, document, 1)


def load_rubric(name: str) -> Rubric:
    """Return a packaged rubric by name, or the one in a text file.

    Raises FileNotFoundError when there is none, ValueError unless ``{document}`` occurs exactly once and the rubric says which
    answers it wants.
    """
    text = load_wording("rubric", "hephaestus_dag.quality", "rubrics", name, PLACEHOLDER, "document")
    rubric = Rubric(Path(name).stem, text)
    assert rubric.answers
    return rubric
