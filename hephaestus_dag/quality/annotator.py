"""What every annotator is: texts in, one annotation for each out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from hephaestus_dag.language_model import Tokens
from hephaestus_dag.map_over import MapOver, in_order
from hephaestus_dag.models import model_identity
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.rubric import Rubric

METHOD = 1  # Raise it when the annotators would give another score for the same document, so that kept answers do not count.


@dataclass(frozen=True, slots=True)
class Annotation:
    """One judgement of a document."""

    score: float | None
    """0 (no) to 1 (yes); None unless ``status`` is ok: what was not answered is never guessed."""
    status: Literal["ok", "invalid", "refused", "error"]
    """ok; invalid: not an answer that the rubric allows; refused: the model or a filter will not judge; error: no answer."""
    raw: str
    """What the annotator said, or the error."""
    tokens: Tokens = field(default_factory=Tokens)
    """What the answer took."""


class Annotator(Protocol):
    """Judges documents by rubrics."""

    def count(self, rubric: Rubric, text: str) -> Tokens:
        """Return about how many tokens the question about a text takes, at most."""
        ...

    def annotate(self, rubric: Rubric, texts: Iterable[str]) -> Iterator[tuple[int, Annotation]]:
        """Yield (number of the text, annotation) as the answers arrive; texts are drawn no earlier than they are needed."""
        ...


def make_annotator(config: AnnotatorConfig, cache: Path, device: str = "cpu", map_over: MapOver = in_order) -> Annotator:
    """Return the annotator that a configuration describes; it loads nothing before it is asked.

    ``cache`` is where a packaged model is unpacked; ``map_over`` spreads a local model's work. A server is asked from this
    process, many questions at a time: it spreads them itself.
    """
    if config.kind == "openai":
        from hephaestus_dag.quality.openai_annotator import OpenAIAnnotator

        return OpenAIAnnotator(config)
    from hephaestus_dag.quality.local_annotator import TransformersAnnotator
    from hephaestus_dag.quality.spread_annotator import SpreadAnnotator

    return SpreadAnnotator(TransformersAnnotator(config, cache, device), map_over)


def annotator_identity(config: AnnotatorConfig) -> dict[str, Any]:
    """Return everything that decides an answer besides rubric and text: the model, and how much of the text it is shown.

    Where a server stands, how it is asked and what it costs decide nothing.
    """
    local = config.kind == "transformers"
    return {
        "kind": config.kind,
        "model": model_identity(config.model) if local else config.model,
        "max_tokens": config.max_tokens,
        **({"dtype": config.dtype} if local else {}),
        "method": METHOD,
    }
