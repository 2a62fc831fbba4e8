"""A model behind any OpenAI-compatible server, below a ceiling of tokens and money.

Conversations go to ``/chat/completions``; plain text, and conversations as transcripts, to ``/completions``. Log-likelihoods
come from a completion that repeats its prompt with log-probabilities (``echo`` and ``logprobs``), where the server knows that.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hephaestus_dag.chat_server import ChatServer, Request, count_tokens, read_completion, words
from hephaestus_dag.evaluation.endpoint_config import EndpointConfig
from hephaestus_dag.evaluation.few_shot import QUESTIONS, Conversation
from hephaestus_dag.evaluation.model import CannotScoreError, Likelihood, Prompt, Reply
from hephaestus_dag.evaluation.prompts import STOPS, ChatMessage, cut, examples_sha, render_transcript
from hephaestus_dag.evaluation.streaming import StreamingModel
from hephaestus_dag.language_model import Reply as Answer
from hephaestus_dag.language_model import Tokens

MOST_STOPS = 4
"""Stop strings that the protocol takes; all are cut here."""
FAILURES_IN_A_ROW = 20
WILL_NOT_PASS = ("HTTP 400", "HTTP 413", "HTTP 422")
"""How answers begin that the same request would get again: it is too long, or the server does not know some field of it."""
UNKNOWN_FIELD = ("HTTP 400", "HTTP 422")
"""Those of them that may be about a field which every request has."""
SHORT = "Yes or no?"
"""What a server is asked to see whether it refuses everything."""


class CeilingError(RuntimeError):
    """The next request could pass ``max_cost`` or ``max_total_tokens``."""


@dataclass(frozen=True, slots=True)
class EchoedAnswer(Answer):
    """A completion that repeats its prompt."""

    pieces: tuple[tuple[int, float | None], ...] = ()
    """Where each token begins, in characters, and its log-probability in nats."""


class EndpointModel(StreamingModel):
    """A model of a server. ``source`` says which it is, where its name and address do not: a checkpoint served for a while.
    ``render`` writes conversations as text here, where the server's own chat template shall not; only vLLM knows such requests.

    Every stream raises CeilingError before the request that could pass a ceiling, PermissionError or LookupError when the
    server refuses the key or does not know the model, and RuntimeError when many requests in a row fail; what was answered
    until then has been yielded. ``max_prompt_tokens`` and ``max_tokens`` are the server's to know: it refuses what is too long.
    """

    def __init__(
        self,
        config: EndpointConfig,
        source: Mapping[str, Any] | None = None,
        examples: Sequence[Conversation] = QUESTIONS,
        render: Callable[[Sequence[ChatMessage]], str] | None = None,
    ) -> None:
        self.config, self.examples, self.render = config, examples, render
        self.spent = Tokens()
        """Read and written so far, as the server counts."""
        self._estimated = 1
        """Tokens that the answered requests were thought to read."""
        self._server = ChatServer(config)
        who = dict(source) if source is not None else {"model": config.model, "endpoint": config.endpoint}
        settings = config.model_dump(include={"prompt_format", "temperature", "limit_field"})
        self._identity = {"served": who, **settings}
        if config.prompt_format == "few_shot":
            self._identity["examples"] = examples_sha(examples)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The model, its server, the prompt format, the temperature and the field with the longest reply."""
        return self._identity

    @property
    def cost(self) -> float | None:
        """Money spent so far; None without prices."""
        return self._cost(self.spent)

    def replies(
        self, prompts: Sequence[Prompt], max_new_tokens: int, max_prompt_tokens: int | None = None, stop: Sequence[str] = ()
    ) -> Iterator[tuple[int, Reply]]:
        """Yield (number of the prompt, reply) as the replies arrive.

        A refusal may pass as long as the server refuses whatever it is asked: then it is about the settings, not the prompt.
        """
        stops = (*stop, *(STOPS if self.config.prompt_format == "few_shot" else ()))
        settings = {self.config.limit_field: max_new_tokens, **({"stop": list(stops[:MOST_STOPS])} if stops else {})}
        requests = [self._request(prompt, settings) for prompt in prompts]
        works: bool | None = None
        for number, answer, seconds in self._answers(requests, max_new_tokens):
            if answer.status == "ok":
                works = True
            elif works is None and answer.text.startswith(UNKNOWN_FIELD):
                short = SHORT if isinstance(prompts[number], str) else [{"role": "user", "content": SHORT}]
                works = self._ask(self._request(short, settings)).status == "ok"
            may_pass = _may_pass(answer) or (answer.status == "error" and not works and answer.text.startswith(UNKNOWN_FIELD))
            failure = "" if answer.status == "ok" else f"{answer.status}: {answer.text}"
            yield (
                number,
                Reply(
                    text="" if failure else cut(answer.text, stops),
                    num_prompt_tokens=answer.tokens.read,
                    num_new_tokens=answer.tokens.written,
                    seconds=seconds,
                    failure=failure,
                    may_pass=may_pass,
                ),
            )

    def likelihoods(
        self, pairs: Sequence[tuple[Prompt, str]], max_tokens: int | None = None
    ) -> Iterator[tuple[int, Likelihood]]:
        """Yield (number of the pair, log-likelihood). The target's tokens are those that begin behind the prompt.

        A pair that the server refuses, where it does not refuse all, has none: it is too long. Raises CannotScoreError with the
        reason when the server gives no log-probabilities of a prompt, and RuntimeError after the others when some request
        failed in a way that may pass.
        """
        texts = [self._text(prompt) for prompt, _ in pairs]
        requests = [self._echo(text + target) for text, (_, target) in zip(texts, pairs, strict=True)]
        works, passing = False, ""
        try:
            for number, answer, _ in self._answers(requests, 1):
                refused = answer.status in ("error", "refused") and not _may_pass(answer)
                short = self._ask(self._echo(SHORT)) if refused and not works else answer
                works = works or isinstance(short, EchoedAnswer)
                if _may_pass(short):
                    passing = short.text
                    continue
                if refused and works:
                    yield number, Likelihood(None, 0)
                    continue
                if not isinstance(answer, EchoedAnswer):
                    raise CannotScoreError(f"{self.config.model} gives no log-probabilities of a prompt: {answer.text}")
                start, end = len(texts[number]), len(texts[number]) + len(pairs[number][1])
                nats = [nats for place, nats in answer.pieces if start <= place < end]
                known = [each for each in nats if each is not None]
                yield number, Likelihood(sum(known) if len(known) == len(nats) else None, len(nats))
        except LookupError as error:
            raise CannotScoreError(f"{self.config.model} gives no log-probabilities of a prompt: {error}") from None
        if passing:
            raise RuntimeError(
                f"{self.config.model}: some requests for log-probabilities failed, the last with {passing}. What was answered "
                "is kept: see that the server is up, and run again"
            )

    def _echo(self, text: str) -> Request:
        return Request("/completions", {**self._settings(), "prompt": text, **ECHO}, read_echo)

    def _ask(self, request: Request) -> Answer:
        """Return the answer to one request more."""
        ((_, answer),) = self._server.answers([request])
        self.spent += answer.tokens
        return answer

    def _text(self, prompt: Prompt) -> str:
        """Return the text whose continuation is scored."""
        if isinstance(prompt, str):
            return prompt
        if self.config.prompt_format == "few_shot":
            return render_transcript(prompt, self.examples)
        raise CannotScoreError(
            f"{self.config.model}: a chat server gives no log-likelihood of a given reply to a conversation; "
            "set prompt_format to few_shot where it also completes plain text"
        )

    def _settings(self) -> dict[str, Any]:
        temperature = {} if self.config.temperature is None else {"temperature": self.config.temperature}
        return {"model": self.config.model, **temperature}

    def _request(self, prompt: Prompt, settings: Mapping[str, Any]) -> Request:
        body = {**self._settings(), **settings}
        if isinstance(prompt, str) or self.config.prompt_format == "few_shot":
            path, body["prompt"] = "/completions", self._text(prompt)
        elif self.render:
            # A template writes the start marker itself, which the server would write once more.
            path = "/completions"
            body |= {"prompt": self.render(prompt), "add_special_tokens": False}
        else:
            path, body["messages"] = "/chat/completions", list(prompt)
        return Request(path, body, lambda answer: read_completion(answer, words(body)))

    def _answers(self, requests: Sequence[Request], max_new_tokens: int) -> Iterator[tuple[int, Answer, float]]:
        """Yield (number, answer, seconds) for requests, as long as the ceilings allow."""
        under_way: dict[int, tuple[Tokens, float]] = {}
        stopped = ""

        def allowed() -> Iterator[Request]:
            nonlocal stopped
            for number, request in enumerate(requests):
                # The server's tokenizer is not known, but how far the estimates were too low until now is.
                too_low = max(1.0, self.spent.read / self._estimated)
                estimate = Tokens(math.ceil(count_tokens(words(request.body)) * too_low), max_new_tokens)
                stopped = self._refusal(sum((tokens for tokens, _ in under_way.values()), self.spent + estimate))
                if stopped:
                    return
                under_way[number] = (estimate, time.monotonic())
                yield request

        failures, done = 0, 0
        for number, answer in self._server.answers(allowed()):
            _, began = under_way.pop(number)
            self.spent += answer.tokens
            self._estimated += count_tokens(words(requests[number].body))
            failures = failures + 1 if answer.status == "error" else 0
            done += 1
            yield number, answer, time.monotonic() - began
            if failures == FAILURES_IN_A_ROW:
                raise RuntimeError(
                    f"{self.config.model}: {failures} requests in a row failed, the last with {answer.text}. What was answered "
                    "before is kept: see that the server is up, and run again"
                )
        if stopped:
            spent = f"{self.spent.total:,} tokens" + ("" if self.cost is None else f" at a cost of {self.cost:,.4f}")
            raise CeilingError(
                f"{self.config.model} stopped after {done:,} of {len(requests):,} requests ({spent}): {stopped}. The answers "
                "are kept, and the next run goes on from there: raise the ceiling, or ask about fewer items"
            )

    def _refusal(self, after: Tokens) -> str:
        """Return why so many tokens would be too many; empty when they would not."""
        ceiling, cost = self.config.max_total_tokens, self._cost(after)
        if ceiling is not None and after.total > ceiling:
            return f"the next request could make it {after.total:,} tokens, and max_total_tokens is {ceiling:,}"
        if self.config.max_cost is not None and cost is not None and cost > self.config.max_cost:
            return f"the next request could make it cost {cost:,.4f}, and max_cost is {self.config.max_cost:,.4f}"
        return ""

    def _cost(self, tokens: Tokens) -> float | None:
        if self.config.input_price is None or self.config.output_price is None:
            return None
        return (tokens.read * self.config.input_price + tokens.written * self.config.output_price) / 1e6


def _may_pass(answer: Answer) -> bool:
    return answer.status == "error" and not answer.text.startswith(WILL_NOT_PASS)


ECHO = {"max_tokens": 1, "echo": True, "logprobs": 1}
"""Repeat the prompt with its log-probabilities. Many servers refuse to write nothing, so one token more is asked for."""


def read_echo(body: str) -> Answer | None:
    """Return a completion that repeats its prompt; invalid when it is one without log-probabilities."""
    answer = read_completion(body, "")
    if answer is None or answer.status != "ok":
        return answer
    try:
        found = json.loads(body)["choices"][0]["logprobs"]
        pieces = tuple(zip(found["text_offset"], found["token_logprobs"], strict=True))
    except (LookupError, TypeError, ValueError):
        return Answer(body[:200], "invalid", tokens=answer.tokens)
    if not any(place == 0 for place, _ in pieces):
        return Answer(f"it does not repeat the prompt: {body[:200]}", "invalid", tokens=answer.tokens)
    return EchoedAnswer(answer.text, tokens=answer.tokens, pieces=pieces)
