"""Annotate through any server that speaks the OpenAI chat protocol.

An answer counts only when it is one that the rubric allows: exactly Yes or No, or a number from 0 to 5. Anything else is
recorded as invalid, what the server's filter turns away as refused, and a request that failed to the end as error; none of
them is given a score.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from hephaestus_dag.chat_server import CHARACTERS_PER_TOKEN, LONGEST_RAW, ChatServer, count_tokens
from hephaestus_dag.language_model import Reply, Tokens
from hephaestus_dag.quality.annotator import Annotation
from hephaestus_dag.quality.config import AnnotatorConfig
from hephaestus_dag.quality.rubric import GRADES, Rubric

MAX_ANSWER_TOKENS = 8
VERDICT = re.compile(r"(yes|no)\.?", re.IGNORECASE)
NUMBER = re.compile(r"[0-4](?:\.[0-9]+)?|5(?:\.0+)?")


class OpenAIAnnotator:
    """Judges by asking a chat server."""

    def __init__(self, config: AnnotatorConfig) -> None:
        self.config = config

    @cached_property
    def server(self) -> ChatServer:
        """The server, whose key is needed from here on."""
        return ChatServer(self.config)

    def count(self, rubric: Rubric, text: str) -> Tokens:
        """Return about how many tokens the question about a text takes, at most."""
        return Tokens(count_tokens(self._question(rubric, text)), MAX_ANSWER_TOKENS)

    def annotate(self, rubric: Rubric, texts: Iterable[str]) -> Iterator[tuple[int, Annotation]]:
        """Yield (number of the text, annotation) as the answers arrive.

        Raises PermissionError or LookupError when the server refuses the key or does not know the model or address.
        """
        questions = (self._question(rubric, text) for text in texts)
        for number, reply in self.server.replies(questions, MAX_ANSWER_TOKENS):
            yield number, parse_reply(reply, rubric)

    def _question(self, rubric: Rubric, text: str) -> str:
        return rubric.fill(text[: self.config.max_tokens * CHARACTERS_PER_TOKEN])


def parse_reply(reply: Reply, rubric: Rubric) -> Annotation:
    """Return 1 for Yes and 0 for No, or n / 5 for a number n from 0 to 5, as the rubric asks; no score for anything else."""
    answer, raw = reply.text.strip(), reply.text[:LONGEST_RAW]
    if reply.status != "ok":
        return Annotation(None, reply.status, raw, reply.tokens)
    if rubric.answers == GRADES and NUMBER.fullmatch(answer):
        return Annotation(round(float(answer) / 5, 6), "ok", raw, reply.tokens)
    if rubric.answers != GRADES and VERDICT.fullmatch(answer):
        return Annotation(float(answer.lower().startswith("yes")), "ok", raw, reply.tokens)
    return Annotation(None, "invalid", raw, reply.tokens)
