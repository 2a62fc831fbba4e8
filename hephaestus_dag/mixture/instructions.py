"""Turn trajectories into masked, packed instruction sequences."""

import ast
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from hephaestus_dag.documents import Reject, document_files, write_rejects
from hephaestus_dag.mixture.chat import ChatRenderer, render_chat, system_prompt, turn_text
from hephaestus_dag.mixture.config import Component, InstructionConfig, MixtureConfig
from hephaestus_dag.mixture.plan import apportion, plan_mixture
from hephaestus_dag.mixture.store import MixtureError, StreamWriter, TokenStore, is_heldout, token_dtype, write_store
from hephaestus_dag.mixture.tokenizer import load_tokenizer
from hephaestus_dag.trajectories import Message, messages_from_json

__all__ = ["build_instructions", "plan_instructions", "render_chat", "system_prompt"]

DOMAIN = "instruction"
OPEN_BLOCKS = 64
"""Packed sequences that still take examples; when one more is opened the oldest is written."""


@dataclass(frozen=True, slots=True)
class _Example:
    identity: str
    tokens: np.ndarray
    mask: np.ndarray
    target_bytes: int
    dropped_tools: int


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
    runs out. An example is never split; a sequence is filled up with padding outside of the loss.

    Tools whose names Python cannot call (``Get Weather``) are shown and called by names that it can (``Get_Weather``).

    Returns the counts, by kind, and of padding. Raises MixtureError when not one example can be taken.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    builder = _ExampleBuilder(ChatRenderer(tokenizer), config)
    pools = [_trajectories(trajectory_folders, document_folders, config.seed, synthetic) for synthetic in (False, True)]
    examples = [builder.accepted(pool) for pool in pools]
    dtype = token_dtype(len(tokenizer))
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    packers = {
        split: _Packer(StreamWriter(folder, DOMAIN, split, dtype, masked=True), config.sequence_length, pad)
        for split in ("train", "heldout")
    }

    taken, dropped_tools, limited_by = [0, 0], 0, "num_examples"
    for kind in _kinds(config):
        example = next(examples[kind], None)
        if example is None:
            limited_by = "synthetic examples" if kind else "recorded examples"
            break
        packers["heldout" if is_heldout(example.identity, config.heldout_share) else "train"].add(example)
        taken[kind] += 1
        dropped_tools += example.dropped_tools
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
    streams = write_store(folder, len(tokenizer), [p.writer for p in packers.values()], config.sequence_length)
    return {
        "examples": sum(taken),
        "recorded": taken[0],
        "synthetic": taken[1],
        "limited_by": limited_by,
        "rejected": len(builder.rejects),
        "set_aside": dict(Counter(reject.reason.split(":")[0] for reject in builder.rejects).most_common()),
        "dropped_tools": dropped_tools,
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
    """Return the kind of each example to take: 0 recorded, 1 synthetic."""
    share = config.synthetic_share
    if share in (0, 1):
        return [int(share)] * config.num_examples
    return apportion([round((1 - share) * 10**6), round(share * 10**6)], config.num_examples).tolist()


def _trajectories(
    folders: Sequence[Path], document_folders: Sequence[Path], seed: int, synthetic: bool
) -> Iterator[tuple[str, str, str, str]]:
    """Yield ``(id, source, tools, messages)`` in the order of a seeded hash."""
    files = [str(folder / "trajectories.parquet") for folder in folders]
    documents = [file for folder in document_folders for file in document_files(folder)]
    kept = "AND id IN (SELECT id FROM read_parquet($documents))" if documents else ""
    query = f"""
        SELECT DISTINCT ON (md5($seed || id), id) id, source, tools, messages FROM read_parquet($files)
        WHERE synthetic = $synthetic {kept} ORDER BY md5($seed || id), id, source, messages
    """
    values = {"files": files, "seed": f"{seed}:", "synthetic": synthetic} | ({"documents": documents} if documents else {})
    with duckdb.connect() as connection:
        for batch in connection.sql(query, params=values).to_arrow_reader(256):
            yield from zip(*(batch.column(name).to_pylist() for name in ("id", "source", "tools", "messages")), strict=True)


class _ExampleBuilder:
    """Makes examples of trajectories, and sets aside what cannot become one."""

    def __init__(self, render: ChatRenderer, config: InstructionConfig) -> None:
        self.render, self.config = render, config
        self.rejects: list[Reject] = []

    def accepted(self, rows: Iterator[tuple[str, str, str, str]]) -> Iterator[_Example]:
        for identity, source, tools, messages in rows:
            made = self._example(identity, json.loads(tools), messages_from_json(messages))
            if isinstance(made, _Example):
                yield made
            else:
                self.rejects.append(Reject(source=source, origin=identity, position="trajectory", reason=made))

    def _example(self, identity: str, tools: list[dict[str, Any]], messages: tuple[Message, ...]) -> _Example | str:
        """Return the example, or the reason why there is none."""
        if not self.config.keep_thoughts:
            messages = tuple(_without_thought(message) for message in messages)
        messages, tools = _speakable(messages, tools)
        replies = [turn_text(m) for m in messages if m.loss]
        if not any(replies):
            return "no assistant turn" + (" to train on" if any(m.role == "assistant" for m in messages) else "")
        called = {call.name for message in messages for call in message.calls}
        if unknown := sorted(called - {tool["name"] for tool in tools}):
            return f"undeclared tool: {unknown[0]} is called, which is not among its tools"
        if wrong := next((c for m in messages for c in m.calls if not _is_python(c.as_python())), None):
            return f"no Python call: {wrong.name}"

        spare = [index for index, tool in enumerate(tools) if tool["name"] not in called]

        def rendered(dropped: int) -> tuple[np.ndarray, np.ndarray]:
            out = set(spare[:dropped])
            return self.render(messages, [tool for index, tool in enumerate(tools) if index not in out])

        # The fewest dropped schemas, oldest first, that let the example fit: its length falls with each.
        limit = self.config.sequence_length
        dropped = bisect_left(range(len(spare) + 1), True, key=lambda count: len(rendered(count)[0]) <= limit)
        tokens, mask = rendered(min(dropped, len(spare)))
        if len(tokens) > limit:
            return f"too long: {len(tokens)} tokens with the called tools alone, more than sequence_length {limit}"
        return _Example(identity, tokens, mask, sum(len(reply.encode()) for reply in replies), dropped)


def _without_thought(message: Message) -> Message:
    """Drop what an assistant thinks, and what it says before its calls; a turn that holds nothing else keeps it."""
    if message.calls:
        return replace(message, content="", thought="")
    return replace(message, thought="") if message.content else message


def _speakable(messages: tuple[Message, ...], tools: list[dict[str, Any]]) -> tuple[tuple[Message, ...], list[dict[str, Any]]]:
    """Give tools whose names Python cannot call other names, unless those are taken."""
    names = {tool["name"] for tool in tools}
    found = {
        name: re.sub(r"\W+", "_", f"_{name}" if name[:1].isdigit() else name) for name in names if not _is_python(f"{name}()")
    }
    taken = Counter([*names, *found.values()])
    found = {name: spoken for name, spoken in found.items() if taken[spoken] == 1}
    if not found:
        return messages, tools

    def renamed(message: Message) -> Message:
        return replace(message, calls=tuple(replace(call, name=found.get(call.name, call.name)) for call in message.calls))

    return tuple(map(renamed, messages)), [{**tool, "name": found.get(tool["name"], tool["name"])} for tool in tools]


def _is_python(call: str) -> bool:
    try:
        parsed = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError):
        return False
    return isinstance(parsed, ast.Call) and all(argument.arg for argument in parsed.keywords)


class _Packer:
    """Packs examples into sequences of one length: the first open sequence with room takes the next example."""

    def __init__(self, writer: StreamWriter, length: int, pad: int) -> None:
        self.writer, self.length, self.pad = writer, length, pad
        self.padding = 0
        self._open: list[tuple[int, list[_Example]]] = []

    def add(self, example: _Example) -> None:
        size = len(example.tokens)
        for index, (used, examples) in enumerate(self._open):
            if used + size <= self.length:
                examples.append(example)
                self._open[index] = (used + size, examples)
                return
        self._open.append((size, [example]))
        if len(self._open) > OPEN_BLOCKS:
            self._write(self._open.pop(0)[1])

    def finish(self) -> None:
        """Write what is open, and one more token: the last sequence has a target after its last input too."""
        for _, examples in self._open:
            self._write(examples)
        self._open = []
        if self.writer.tokens:
            self._pad(1)

    def _write(self, examples: list[_Example]) -> None:
        begin = self.writer.tokens
        for example in examples:
            self.writer.record(example.identity, self.writer.tokens, len(example.tokens), example.target_bytes)
            self.writer.append(example.tokens, example.mask)
        self._pad(begin + self.length - self.writer.tokens)

    def _pad(self, count: int) -> None:
        self.padding += count
        self.writer.append(np.full(count, self.pad), np.zeros(count))
