"""The costs of a recipe's assets, by key, with what was measured in place of what is estimated."""

from collections.abc import Mapping
from dataclasses import dataclass

from hephaestus_dag.costs.amount import NOTHING, Amount, unknown
from hephaestus_dag.costs.architecture import Architecture, find_architecture
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.server_config import ServerConfig

COUNTED = ("benchmarks", "seed_corpus", "web_retrieval", "quality", "mixture")
"""Groups whose artifacts count documents in rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a language model is asked and answers."""

    questions: Amount
    read: Amount
    """Tokens."""
    written: Amount
    """Tokens."""
    money: Amount
    """In the unit of the recipe's prices; a local model's hours count as FLOP instead."""


def answers(questions: Amount, read: Amount, written: Amount, server: ServerConfig | None, where: str) -> Answers:
    """Return what questions take of a server at the prices in its configuration, or of a local model."""
    if server is None:
        return Answers(questions=questions, read=read, written=written, money=NOTHING)
    if server.input_price is None or server.output_price is None:
        money = unknown(f"no price: give {where}.input_price and output_price, per million tokens")
    else:
        money = read * (server.input_price / 1e6) + written * (server.output_price / 1e6)
    return Answers(questions=questions, read=read, written=written, money=money)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an artifact in the store turned out to hold."""

    documents: int | None
    tokens: float | None
    num_bytes: int
    seconds: float
    """Wall time of the build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one asset takes."""

    key: str
    group: str
    documents: Amount = NOTHING
    tokens: Amount = NOTHING
    inference: Amount = NOTHING
    """FLOP of forward passes."""
    training: Amount = NOTHING
    """FLOP of training."""
    disk: Amount = NOTHING
    """Bytes of the artifact."""
    scratch: Amount = NOTHING
    """Bytes of what it needs beside the artifact while it is made."""
    answers: Answers | None = None
    """What it asks a language model to judge, to write or to solve; None: nothing."""
    note: str = ""
    shortage: str = ""
    """Which domains of a mixture hold too few different tokens."""
    dtype: str = "float32"
    """Number format of its products."""
    processes: int = 1
    """That share its work."""
    measured: bool = False
    """Whether documents, tokens and disk are those of an artifact in the store."""
    seconds: float | None = None
    """Wall time of the build of that artifact."""


class Book:
    """Costs, entered one asset after the other; later ones look up earlier ones."""

    def __init__(self, recipe: Recipe, measured: Mapping[str, Measured]) -> None:
        self.recipe = recipe
        self.measured = measured
        self.costs: dict[str, Cost] = {}
        self.vocabulary = recipe.mixture.tokenizer.train.vocab_size if recipe.mixture.tokenizer.train else None
        if model := recipe.mixture.tokenizer.model:
            found = find_architecture(model)
            self.vocabulary = found.vocab_size if found else None

    def add(self, key: str, group: str, **amounts: Amount | Answers | str | int | None) -> Cost:
        """Enter an asset; an artifact of it counts before the estimate."""
        found = self.measured.get(key)
        if found:
            amounts["disk"] = Amount(float(found.num_bytes))
            if found.documents is not None and group in COUNTED:
                amounts["documents"] = Amount(float(found.documents))
            if found.tokens is not None:
                amounts["tokens"] = Amount(found.tokens)
        known = {"measured": bool(found), "seconds": found.seconds if found else None}
        self.costs[key] = Cost(key=key, group=group, **known, **amounts)  # pyright: ignore[reportArgumentType]
        return self.costs[key]

    def documents(self, key: str) -> Amount:
        """Return the documents of an asset entered before."""
        return self.costs[key].documents

    def tokens(self, key: str) -> Amount:
        """Return the tokens of an asset entered before."""
        return self.costs[key].tokens

    @property
    def token_bytes(self) -> Amount:
        """Bytes of a token in a token store: two up to 65,536 entries, four above."""
        if self.vocabulary is None:
            return unknown(f"the vocabulary of {self.recipe.mixture.tokenizer.model} is not known here")
        return Amount(2.0 if self.vocabulary <= 65_536 else 4.0)


def unknown_shape(name: str) -> Amount:
    """Return why there are no FLOP for a model."""
    return unknown(f"unknown shape of {name}: it is not here, and not among the published shapes known here")


def forward(name: str, length: int) -> Amount:
    """Return FLOP per token of a named model's forward pass over sequences of a length."""
    architecture = find_architecture(name)
    return Amount(architecture.forward_flops(length)) if architecture else unknown_shape(name)


def shape_or_reason(architecture: Architecture | None, name: str) -> Amount:
    """Return the parameters of a model."""
    return Amount(float(architecture.parameters)) if architecture else unknown_shape(name)
