"""Pack whole examples into sequences of one length."""

import numpy as np

from hephaestus_dag.mixture.examples import Example
from hephaestus_dag.mixture.store import StreamWriter

OPEN_BLOCKS = 64
"""Packed sequences that still take examples; when one more is opened the oldest is written."""


class Packer:
    """Packs examples into sequences of one length: the first open sequence with room takes the next example."""

    def __init__(self, writer: StreamWriter, length: int, pad: int) -> None:
        self.writer, self.length, self.pad = writer, length, pad
        self.padding = 0
        self._open: list[tuple[int, list[Example]]] = []

    def add(self, example: Example) -> None:
        """Take an example that is no longer than a sequence."""
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

    def _write(self, examples: list[Example]) -> None:
        begin = self.writer.tokens
        for example in examples:
            self.writer.record(example.identity, self.writer.tokens, len(example.tokens), example.target_bytes, example.source)
            self.writer.append(example.tokens, example.mask)
        self._pad(begin + self.length - self.writer.tokens)

    def _pad(self, count: int) -> None:
        self.padding += count
        self.writer.append(np.full(count, self.pad), np.zeros(count))
