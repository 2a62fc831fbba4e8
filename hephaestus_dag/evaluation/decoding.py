"""The engine of a local causal model: greedy decoding and log-likelihoods of token sequences, in batches.

A batch changes no result other than by rounding: rows are padded on the left, masked, and counted from their own beginning.
What sequences share at their beginning is computed once, and what a conversation has said before is not read again. A finished
reply leaves its batch, and further prompts take its place.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from hephaestus_dag.evaluation.kept_rounds import KeptRounds
from hephaestus_dag.evaluation.key_values import empty_cache, expanded, joined, positions_of, selected
from hephaestus_dag.evaluation.shared_prefixes import PrefixGroup, Tokens, group_by_prefix

MAX_LOGITS = 1 << 26
"""Most logits (rows × positions × vocabulary) of one forward pass: 256 MiB in float32."""


@dataclass(slots=True)
class Row:
    """A reply that is being written."""

    number: int
    new: list[int] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(slots=True)
class Running:
    """A batch of replies that are being written, each with a last token that the model has not read yet."""

    rows: list[Row]
    cache: Cache
    mask: Tensor
    """int64 [rows, positions]: 1 where a row has a token that the model has read."""


class Decoder:
    """A causal model of transformers, ``batch_size`` rows or ``batch_tokens`` tokens at a time, whichever is less."""

    def __init__(self, model: Any, pad_id: int, batch_size: int, batch_tokens: int) -> None:
        if getattr(model, "_is_stateful", False):
            raise ValueError(f"{type(model).__name__} keeps a state other than keys and values, which cannot be batched here")
        self.model, self.pad_id = model, pad_id
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.vocab_size: int = model.config.vocab_size
        self.rounds = KeptRounds()

    @torch.inference_mode()
    def decode(
        self, prompts: Sequence[Tokens], max_new_tokens: int, ended: Callable[[list[int]], bool]
    ) -> Iterator[tuple[int, list[int], float]]:
        """Yield (number of the prompt, new tokens, seconds) as greedy replies end: where ``ended``, or at ``max_new_tokens``.

        Each prompt has at least one token. The seconds of a pass are shared by its rows.
        """
        read = self.rounds.begin(prompts)
        fresh = [number for number in range(len(prompts)) if number not in read]
        groups = deque(PrefixGroup([number], shared) for number, shared in read.items())
        for group in self._groups([prompts[number][:-1] for number in fresh]):
            groups.append(PrefixGroup([fresh[place] for place in group.numbers], group.shared))
        waiting, shared, prefix, running = deque[int](), 0, None, None
        while waiting or groups or running:
            if not waiting and groups:
                group = groups.popleft()
                waiting, shared, prefix = deque(group.numbers), group.shared, None
            if entering := self._entering(waiting, running, prompts, max_new_tokens):
                began = time.perf_counter()
                if shared and prefix is None:
                    prefix = self.rounds.take(entering[0]) or self._read([prompts[entering[0]][:shared]])[1]
                logits, cache, mask = self._read([prompts[number] for number in entering], prefix, shared)
                entered = Running([Row(number) for number in entering], cache, mask)
                _write(entered.rows, logits, began)
                running = _together(running, entered) if running else entered
            else:
                assert running is not None
                self._step(running)
            done = [row for row in running.rows if len(row.new) >= max_new_tokens or ended(row.new)]
            if done:
                if self.rounds.going_on:
                    self._keep(running, done, prompts)
                running = _without(running, {row.number for row in done})
                yield from ((row.number, row.new, row.seconds) for row in done)

    @torch.inference_mode()
    def logprobs(self, pairs: Sequence[tuple[Tokens, Tokens]]) -> Iterator[tuple[int, float]]:
        """Yield (number of the pair, nats of its target's tokens after its context's), neither of them empty.

        Pairs whose targets differ in the last token alone are read once: the choices of a question, for instance.
        """
        numbers: dict[bytes, list[int]] = {}
        for number, (context, target) in enumerate(pairs):
            numbers.setdefault(np.asarray([*context, *target[:-1]], np.int64).tobytes(), []).append(number)
        rows = [np.frombuffer(key, np.int64) for key in numbers]
        owners = list(numbers.values())
        widths = [max(len(pairs[number][1]) for number in owner) for owner in owners]
        for group in self._groups([row[: len(row) - width] for row, width in zip(rows, widths, strict=True)]):
            prefix = self._read([rows[group.numbers[0]][: group.shared]])[1] if group.shared else None
            for batch in self._batches(group.numbers, rows, widths):
                width = max(widths[row] for row in batch)
                logits, *_ = self._read([rows[row] for row in batch], prefix, group.shared, width)
                targets = [(place, number, pairs[number][1]) for place, row in enumerate(batch) for number in owners[row]]
                yield from _scores(logits, targets)

    def _keep(self, running: Running, done: Sequence[Row], prompts: Sequence[Tokens]) -> None:
        """Keep what was read of conversations whose replies end."""
        for row in done:
            place = torch.tensor([running.rows.index(row)], device=running.mask.device)
            start = int(running.mask[place[0]].argmax())
            self.rounds.keep([*prompts[row.number], *row.new[:-1]], selected(running.cache, place, start))

    def _groups(self, beginnings: Sequence[Tokens]) -> deque[PrefixGroup]:
        """Return groups of sequences that share a prefix, in each the longest first."""

        def by_length(group: PrefixGroup) -> PrefixGroup:
            return PrefixGroup(sorted(group.numbers, key=lambda number: (-len(beginnings[number]), number)), group.shared)

        groups = [by_length(group) for group in group_by_prefix(beginnings)]
        return deque(sorted(groups, key=lambda group: -len(beginnings[group.numbers[0]])))

    def _entering(
        self, waiting: deque[int], running: Running | None, prompts: Sequence[Tokens], max_new_tokens: int
    ) -> list[int]:
        """Take from those waiting what finds room beside those running; nothing when that is hardly worth a pass."""
        rows, width = (len(running.rows), running.mask.shape[1]) if running else (0, 0)
        room = 0
        for number in waiting:
            width = max(width, len(prompts[number]))
            rows += 1
            if rows > 1 and self._too_much(rows, width + max_new_tokens):
                break
            room += 1
        if running and room < min(len(waiting), max(1, self.batch_size // 4)):
            return []
        return [waiting.popleft() for _ in range(room)]

    def _too_much(self, rows: int, width: int) -> bool:
        return rows > self.batch_size or rows * width > self.batch_tokens

    def _batches(self, order: Sequence[int], rows: Sequence[Tokens], widths: Sequence[int]) -> Iterator[list[int]]:
        """Yield batches in which all rows find room and, if more than one row, not too many logits."""
        batch: list[int] = []
        for row in order:
            more = [*batch, row]
            logits = len(more) * max(widths[each] for each in more) * self.vocab_size
            if batch and (self._too_much(len(more), max(len(rows[each]) for each in more)) or logits > MAX_LOGITS):
                yield batch
                more = [row]
            batch = more
        yield batch

    def _step(self, running: Running) -> None:
        """Let each reply grow by a token."""
        began = time.perf_counter()
        running.mask = torch.cat([running.mask, running.mask.new_ones(len(running.rows), 1)], 1)
        following = torch.tensor([row.new[-1:] for row in running.rows], device=running.mask.device)
        logits = self._forward(following, running.mask, running.cache, 1)
        _write(running.rows, logits, began)

    def _read(
        self, rows: Sequence[Tokens], prefix: Cache | None = None, shared: int = 0, width: int = 1
    ) -> tuple[Tensor, Cache, Tensor]:
        """Read rows whose first ``shared`` tokens are in ``prefix``; return the last ``width`` logits, cache and mask."""
        longest = max(len(row) for row in rows) - shared
        tokens = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        mask = torch.ones((len(rows), shared + longest), dtype=torch.long)
        for place, row in enumerate(rows):
            tokens[place, longest - len(row) + shared :] = torch.as_tensor(np.array(row[shared:], np.int64))
            mask[place, shared : shared + longest - (len(row) - shared)] = 0
        cache = expanded(prefix, len(rows)) if prefix else empty_cache()
        mask = mask.to(self.model.device)
        return self._forward(tokens.to(self.model.device), mask, cache, width), cache, mask

    def _forward(self, tokens: Tensor, mask: Tensor, cache: Cache, width: int) -> Tensor:
        """Return logits [rows, ``width``, vocabulary] after the last tokens; ``cache`` takes in what is read."""
        positions = positions_of(mask)[:, -tokens.shape[1] :]
        return self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=width,
        ).logits


def _write(rows: Sequence[Row], logits: Tensor, began: float) -> None:
    """Append the likeliest token to each row, and its share of the time since ``began``."""
    for row, token in zip(rows, logits[:, -1].argmax(-1).tolist(), strict=True):
        row.new.append(token)
        row.seconds += (time.perf_counter() - began) / len(rows)


def _together(one: Running, other: Running) -> Running:
    width = max(one.mask.shape[1], other.mask.shape[1])
    masks = [torch.nn.functional.pad(each.mask, (width - each.mask.shape[1], 0)) for each in (one, other)]
    return Running([*one.rows, *other.rows], joined([one.cache, other.cache]), torch.cat(masks))


def _without(running: Running, done: set[int]) -> Running | None:
    """Return the batch without some rows and the positions that they alone needed; None when nobody stays."""
    staying = [place for place, row in enumerate(running.rows) if row.number not in done]
    if not staying:
        return None
    places = torch.tensor(staying, device=running.mask.device)
    mask = running.mask[places]
    start = int(mask.any(0).nonzero()[0])
    return Running([running.rows[place] for place in staying], selected(running.cache, places, start), mask[:, start:])


def _scores(logits: Tensor, targets: Sequence[tuple[int, int, Tokens]]) -> Iterator[tuple[int, float]]:
    """Yield (number, nats) for each (row of the logits, number, target that ends at the right edge)."""
    logits = logits.float()
    totals = logits.logsumexp(-1)
    for row, number, target in targets:
        tokens = torch.as_tensor(np.array(target, np.int64), device=logits.device)
        chosen = logits[row, -len(tokens) :].gather(1, tokens[:, None])[:, 0] - totals[row, -len(tokens) :]
        yield number, float(chosen.double().sum())
