"""Turn trajectories into masked, packed instruction sequences."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from hephaestus_dag.documents import document_files, write_rejects
from hephaestus_dag.mixture.apportion import apportion
from hephaestus_dag.mixture.chat import ChatRenderer
from hephaestus_dag.mixture.config import Component, InstructionConfig, MixtureConfig
from hephaestus_dag.mixture.encoder import tokenizer_digest
from hephaestus_dag.mixture.examples import Example, ExampleBuilder
from hephaestus_dag.mixture.packing import Packer
from hephaestus_dag.mixture.plan import plan_mixture
from hephaestus_dag.mixture.store import MixtureError, StreamWriter, TokenStore, is_heldout, token_dtype, write_store
from hephaestus_dag.mixture.tokenizer import load_tokenizer, vocabulary_size

DOMAIN = "instruction"
KINDS = ("recorded", "synthetic", "general")
"""Where an example comes from."""


def build_instructions(
    trajectory_folders: Sequence[Path],
    tokenizer_folder: Path,
    folder: Path,
    config: InstructionConfig,
    document_folders: Sequence[Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Write a masked token store of packed instruction sequences, and ``rejects.parquet`` with what did not become one.

    Each folder of ``trajectory_folders`` holds a trajectories.parquet. Where ``document_folders`` are given, only
    trajectories whose document is in one of them are used: what curation removed stays out. Recorded and synthetic
    examples alternate so that ``synthetic_share`` holds at every prefix, until ``num_examples`` are taken or one kind
    runs out. A ``general_share`` of the examples are pieces of the code and text among these documents, all of whose tokens
    count in the loss: against forgetting. An example is never split; a sequence is filled up with padding outside of the
    loss. A conversation longer than a sequence is cut after a reply, see `ExampleBuilder`.

    Tools whose names Python cannot call (``Get Weather``) are shown and called by names that it can (``Get_Weather``).

    Returns the counts: examples by kind, ``truncated`` ones with the turns and tools that were left out, padding. Raises
    MixtureError when not one example can be taken.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    builder = ExampleBuilder(ChatRenderer(tokenizer), config)
    pools = [_trajectories(trajectory_folders, document_folders, config, synthetic) for synthetic in (False, True)]
    examples = [*(builder.accepted(pool) for pool in pools), general_pieces(document_folders, tokenizer, config)]
    vocab_size = vocabulary_size(tokenizer)
    dtype = token_dtype(vocab_size)
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    packers = {
        split: Packer(StreamWriter(folder, DOMAIN, split, dtype, masked=True), config.sequence_length, pad)
        for split in ("train", "heldout")
    }

    taken, limited_by = [0, 0, 0], "num_examples"
    left_out = dict.fromkeys(("truncated", "dropped_turns", "dropped_tools"), 0)
    for kind in _kinds(config):
        example = next(examples[kind], None)
        if example is None:
            limited_by = f"{KINDS[kind]} examples"
            break
        packers["heldout" if is_heldout(example.identity, config.heldout_share) else "train"].add(example)
        taken[kind] += 1
        left_out["truncated"] += bool(example.dropped_turns)
        left_out["dropped_turns"] += example.dropped_turns
        left_out["dropped_tools"] += example.dropped_tools
        if progress:
            progress(sum(taken), config.num_examples)
    write_rejects(folder / "rejects.parquet", builder.rejects)
    if not sum(taken):
        raise MixtureError(
            f"no instruction example: {limited_by} ran out at once ({len(builder.rejects)} rejected, see rejects.parquet); "
            "add trajectories of this kind, change synthetic_share, or raise sequence_length"
        )
    for packer in packers.values():
        packer.finish()
    writers = [packer.writer for packer in packers.values()]
    streams = write_store(folder, vocab_size, writers, config.sequence_length, tokenizer_digest(tokenizer))
    return {
        "examples": sum(taken),
        "recorded": taken[0],
        "synthetic": taken[1],
        "general": taken[2],
        "limited_by": limited_by,
        "rejected": len(builder.rejects),
        "set_aside": dict(Counter(reject.reason.split(":")[0] for reject in builder.rejects).most_common()),
        **left_out,
        "padding_share": round(sum(p.padding for p in packers.values()) / sum(s.tokens for s in streams.values()), 6),
        "streams": {name: asdict(stream) for name, stream in streams.items()},
    }


def plan_instructions(store: Path, epochs: float, seed: int, folder: Path) -> dict[str, Any]:
    """Plan a mixture that shows the packed sequences of an instruction store ``epochs`` times; at least one sequence.

    Returns what `plan_mixture` does. Raises MixtureError when every example was held out.
    """
    stream = TokenStore(store).streams[DOMAIN]
    length = stream.sequence_length
    if length is None or not stream.tokens:
        raise MixtureError("the instruction store has no training sequence; lower heldout_share or add examples")
    unique = (stream.tokens - 1) // length
    sequences = max(1, round(unique * epochs))
    config = MixtureConfig(
        tokens=sequences * length,
        sequence_length=length,
        components=(Component(domain=DOMAIN, share=1),),
        max_epochs=sequences / unique,
        seed=seed,
    )
    return plan_mixture(config, [store], folder)


def _kinds(config: InstructionConfig) -> list[int]:
    """Return the kind of each example to take, by its place in `KINDS`."""
    general, synthetic = Fraction(str(config.general_share)), Fraction(str(config.synthetic_share))
    shares = [(1 - general) * (1 - synthetic), (1 - general) * synthetic, general]
    used = [kind for kind, share in enumerate(shares) if share]
    whole = lcm(*(share.denominator for share in shares))
    weights = [int(shares[kind] * whole) for kind in used]
    return [used[place] for place in apportion(weights, config.num_examples).tolist()]


def general_pieces(document_folders: Sequence[Path], tokenizer: Any, config: InstructionConfig) -> Iterator[Example]:
    """Yield the beginnings of code and text documents in the order of a seeded hash, as examples without a conversation."""
    files = [file for folder in document_folders for file in document_files(folder)]
    if not config.general_share or not files:
        return
    query = """
        SELECT id, source, text FROM read_parquet($files) WHERE domain IN ('code', 'text') ORDER BY md5($seed || id), id
    """
    with duckdb.connect() as connection:
        found = connection.sql(query, params={"files": files, "seed": f"{config.seed}:"}).to_arrow_reader(64)
        for batch in found:
            for identity, source, text in zip(*(batch.column(name).to_pylist() for name in batch.schema.names), strict=True):
                yield _piece(identity, source, text[: 8 * config.general_tokens], tokenizer, config.general_tokens)


def _piece(identity: str, source: str, text: str, tokenizer: Any, most: int) -> Example:
    tokens = np.array(tokenizer(text, add_special_tokens=False)["input_ids"][:most], np.int64)
    mask = np.ones(len(tokens), np.uint8)
    mask[:1] = 0  # nothing stands before it
    said = len(tokenizer.decode(tokens[1:]).encode())
    return Example(identity, source, tokens, mask, said, dropped_tools=0, dropped_turns=0)


def _trajectories(
    folders: Sequence[Path], document_folders: Sequence[Path], config: InstructionConfig, synthetic: bool
) -> Iterator[tuple[str, str, str, str]]:
    """Yield ``(id, source, tools, messages)`` in the order of a seeded hash."""
    values: dict[str, Any] = {
        "files": [str(folder / "trajectories.parquet") for folder in folders],
        "seed": f"{config.seed}:",
        "synthetic": synthetic,
    }
    conditions = ["synthetic = $synthetic"]
    if document_folders:
        values["documents"] = [file for folder in document_folders for file in document_files(folder)]
        conditions.append("id IN (SELECT id FROM read_parquet($documents))")
    if config.sources and not synthetic:
        values["sources"] = list(config.sources)
        conditions.append("list_contains($sources, source)")
    query = f"""
        SELECT DISTINCT ON (md5($seed || id), id) id, source, tools, messages FROM read_parquet($files)
        WHERE {" AND ".join(conditions)} ORDER BY md5($seed || id), id, source, messages
    """
    with duckdb.connect() as connection:
        for batch in connection.sql(query, params=values).to_arrow_reader(256):
            yield from zip(*(batch.column(name).to_pylist() for name in ("id", "source", "tools", "messages")), strict=True)
