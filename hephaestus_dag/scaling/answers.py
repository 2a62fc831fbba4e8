"""Reference answers of the benchmark as a held-out stream: their bits per byte given their prompts are the benchmark loss.

Each answer is one sequence of the training length: its prompt, then the answer, which alone counts, then padding. Where both
are longer than a sequence, the prompt loses its beginning, as a proxy has never seen a longer context.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from hephaestus_dag.evaluation.bfcl.items import sampled_items
from hephaestus_dag.evaluation.prompts import render_chat
from hephaestus_dag.mixture.store import StreamWriter, token_dtype, write_store


def write_answers(
    items: Path, tokenizer: Path, folder: Path, *, domain: str, per_category: int, seed: int, sequence_length: int
) -> dict[str, Any]:
    """Write a token store with one held-out stream of reference answers, and return figures about them.

    ``items`` holds ``items.parquet``, of which ``per_category`` are drawn from each category; ``tokenizer`` is a Hugging Face
    folder. An answer that fills a sequence alone is left out and counted. Raises ValueError when none is left.
    """
    from transformers import AutoTokenizer

    encode: Any = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    vocab_size = len(encode)
    padding = encode.pad_token_id if encode.pad_token_id is not None else encode.eos_token_id
    writer = StreamWriter(folder, domain, "heldout", token_dtype(vocab_size), masked=True)
    found: Counter[str] = Counter()
    too_long = cut = 0
    for row in sampled_items(items, per_category, seed).to_pylist():
        prompt = encode(render_chat(encode, json.loads(row["prompt"])), add_special_tokens=False)["input_ids"]
        answer = encode(row["reference"], add_special_tokens=False)["input_ids"]
        if not 0 < len(answer) < sequence_length:
            too_long += 1
            continue
        cut += len(prompt) + len(answer) > sequence_length
        before = prompt[-(sequence_length - len(answer)) :]
        tokens, mask = np.full(sequence_length, padding), np.zeros(sequence_length, np.uint8)
        end = len(before) + len(answer)
        tokens[:end], mask[len(before) : end] = [*before, *answer], 1
        writer.record(row["item_id"], writer.tokens, sequence_length, len(row["reference"].encode()), row["category"])
        writer.append(tokens, mask)
        found[row["category"]] += 1
    if not found:
        raise ValueError(
            f"sequence_length {sequence_length}: no reference answer fits; raise it, or set benchmark_items to null"
        )
    writer.append(np.array([padding]), np.zeros(1, np.uint8))  # The last window's last token has a successor.
    stream = write_store(folder, vocab_size, [writer])[writer.name]
    return {
        "answers": stream.documents,
        "bytes": stream.bytes,
        "target tokens": stream.target_tokens or 0,
        "left out, too long": too_long,
        "with the beginning of the prompt cut off": cut,
        "categories": dict(sorted(found.items())),
    }
