import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.store import StreamWriter, token_dtype, write_store
from hephaestus_dag.training.config import ModelShape, TrainingConfig
from hephaestus_dag.training.job import TrainingJob

LENGTH = 32
SHAPE = ModelShape(hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64, max_position_embeddings=LENGTH)


def write_tokenizer(folder: Path) -> int:
    """Byte-level tokenizer of 260 entries with eos, pad and a chat template; returns its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    head = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(head))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    return tokenizer.get_vocab_size()


def sentences(count: int, seed: int) -> list[str]:
    """Text that a small model can learn something about."""
    random = np.random.default_rng(seed)
    names, verbs = ["ada", "bob", "eve", "zoë"], ["lists", "opens", "closes"]
    return [
        f"{random.choice(names)} {random.choice(verbs)} the door of house {random.integers(10)}. " * 3 for _ in range(count)
    ]


@dataclass(frozen=True)
class Corpus:
    """A tokenizer, a store with two domains, an instruction domain and one of noise, and their mixtures."""

    folder: Path
    tokenizer: Path
    store: Path

    def mixture(self, name: str, sequences: int, **shares: float) -> Path:
        folder = self.folder / name
        config = MixtureConfig(
            tokens=sequences * LENGTH,
            sequence_length=LENGTH,
            components=tuple(Component(domain=domain, share=share) for domain, share in shares.items()),
            max_epochs=1_000,
        )
        plan_mixture(config, [self.store], folder)
        return folder

    def poisoned(self, name: str, steps: int, batch: int, bad: Collection[int]) -> Path:
        """A mixture of agent text whose batches of the steps ``bad``, counted from 1, are random tokens."""
        share = len(bad) / steps
        folder = self.mixture(name, steps * batch, agent=1 - share, noise=share)
        rows = np.load(folder / "sequences.npy")
        noise = rows["stream"] == [s["name"] for s in json.loads((folder / "mixture.json").read_text())["streams"]].index(
            "noise"
        )
        shown = np.repeat(np.isin(np.arange(1, steps + 1), list(bad)), batch)
        rows[shown], rows[~shown] = rows[noise], rows[~noise]
        np.save(folder / "sequences.npy", rows)
        return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("corpus")
    vocab_size = write_tokenizer(folder / "tokenizer")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    eos = tokenizer.token_to_id("<|endoftext|>")
    writers = []
    for number, domain in enumerate(("agent", "text", "instruction")):
        for split, count in (("train", 60), ("heldout", 8)):
            writer = StreamWriter(folder / "store", domain, split, token_dtype(vocab_size), masked=domain == "instruction")
            for index, text in enumerate(sentences(count, seed=10 * number + (split == "train"))):
                tokens = np.array([*tokenizer.encode(text).ids, eos])
                writer.record(f"{index:032x}", writer.tokens, len(tokens), len(text.encode()))
                writer.append(tokens, (np.arange(len(tokens)) % 3 == 0).astype(np.uint8) if writer.masked else None)
            writers.append(writer)
    noise = StreamWriter(folder / "store", "noise", "train", token_dtype(vocab_size))
    noise.record("f" * 32, 0, 2_000, 2_000)
    noise.append(np.random.default_rng(0).integers(0, 256, 2_000))
    write_store(folder / "store", vocab_size, [*writers, noise])
    return Corpus(folder, folder / "tokenizer", folder / "store")


@pytest.fixture
def make_job(corpus: Corpus, tmp_path: Path) -> Callable[..., TrainingJob]:
    """A job over 48 sequences in 12 steps; fields of the job and of its config can be given."""
    config_fields = set(TrainingConfig.model_fields)

    def make(**given: Any) -> TrainingJob:
        config = {
            "global_batch_sequences": 4,
            "micro_batch_sequences": 2,
            "learning_rate": 0.01,
            "checkpoint_every": 4,
            "evaluate_every": 6,
            "evaluate_tokens": 256,
            **{name: given.pop(name) for name in list(given) if name in config_fields},
        }
        name = given.pop("name", "run")
        job = {
            "title": name,
            "model": SHAPE,
            "tokenizer": corpus.tokenizer,
            "mixture": corpus.folder / "mixture",
            "stores": (corpus.store,),
            "heldout": {domain: (corpus.store, f"{domain}.heldout") for domain in ("agent", "text")},
            "config": TrainingConfig(**config),
            "output": tmp_path / name / "output",
            "work": tmp_path / name / "work",
            **given,
        }
        if not job["mixture"].exists():
            corpus.mixture("mixture", 48, agent=0.5, text=0.5)
        return TrainingJob(**job)

    return make
