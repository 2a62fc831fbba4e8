"""A small made corpus in three domains."""

import random
from pathlib import Path

from hephaestus_dag.documents import Document, DocumentWriter
from hephaestus_dag.mixture.config import TokenStoreConfig, TrainTokenizerConfig

WORDS = (
    "call",
    "tool",
    "river",
    "größe",
    "return",
    "def",
    "weather",
    "12.5",
    "2024",
    "2024",
    "北京",
    "{}",
    "\n",
    "list",
    "of",
    "names",
    "→",
)
TOKENIZER = TrainTokenizerConfig(vocab_size=320, sample_characters=20_000)
STORE = TokenStoreConfig(heldout_share=0.2, seed=3)


def write_documents(
    folder: Path,
    seed: int = 0,
    count: int = 60,
    domains: tuple[str, ...] = ("agent", "code", "text"),
    sources: tuple[str, ...] = ("test",),
    documents_per_shard: int = 25,
) -> None:
    choose = random.Random(seed)
    made = [
        Document(
            text=" ".join(choose.choices(WORDS, k=choose.randint(1, 60))) + f" {number}",
            domain=domains[number % len(domains)],  # pyright: ignore[reportArgumentType]
            kind="made",
            source=sources[number // len(domains) % len(sources)],
            origin=f"document {number}",
            license="Apache-2.0",
        )
        for number in range(count)
    ]
    with DocumentWriter(folder, documents_per_shard) as writer:
        for first in range(0, count, documents_per_shard):
            writer.write(made[first : first + documents_per_shard])
