"""Annotate through any server that speaks the OpenAI chat protocol.

An answer counts only when it is exactly Yes, No, or a number from 0 to 5. Anything else is recorded as invalid, and a
request that failed to the end as error; neither is given a score.
"""

import re
from collections.abc import Sequence
from typing import Any

from hephaestus_dag.language_model import LONGEST_RAW, ChatServer
from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.rubric import Rubric

CHARACTERS_PER_TOKEN = 4
MAX_ANSWER_TOKENS = 8
WORD = re.compile(r"(yes|no)\.?", re.IGNORECASE)
NUMBER = re.compile(r"[0-4](?:\.\d+)?|5(?:\.0+)?")


class OpenAIAnnotator:
    """Judges by asking a chat server."""

    def __init__(self, config: AnnotatorConfig, rubric: Rubric) -> None:
        self.rubric = rubric
        self.server = ChatServer(config)
        self.characters = config.max_tokens * CHARACTERS_PER_TOKEN
        self.identity: dict[str, Any] = {"kind": config.kind, "model": config.model, "max_tokens": config.max_tokens}

    def annotate(self, texts: Sequence[str]) -> list[Annotation]:
        """Return one annotation for each text, in order.

        Raises PermissionError or LookupError when the server refuses the key or does not know the model or address: no
        document could succeed then.
        """
        replies = self.server.generate([self.rubric.fill(text[: self.characters]) for text in texts], MAX_ANSWER_TOKENS)
        return [
            parse_answer(reply.text) if reply.status == "ok" else Annotation(None, reply.status, reply.text)
            for reply in replies
        ]


def parse_answer(content: str) -> Annotation:
    """Return 1 for Yes, 0 for No, n / 5 for a number n from 0 to 5, and no score for anything else."""
    answer, raw = content.strip(), content[:LONGEST_RAW]
    if WORD.fullmatch(answer):
        return Annotation(float(answer.lower().startswith("yes")), "ok", raw)
    if NUMBER.fullmatch(answer):
        return Annotation(round(float(answer) / 5, 6), "ok", raw)
    return Annotation(None, "invalid", raw)
