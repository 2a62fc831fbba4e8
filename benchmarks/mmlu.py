"""MMLU questions per second through our model, beside lm-eval's own model class, with the same answers.

    .venv/bin/python benchmarks/mmlu.py --model FOLDER --questions FOLDER --items 40 --subjects 2 --shots 0 5

``--questions`` is a folder of JSON lines as ``evaluation.mmlu.location`` takes them (``*test*.jsonl``, ``*dev*.jsonl``). Both
sides run the same lm-eval task over the same prompts in one process, weights in float32; HFLM gets the batch size of ours. Time
is that of the whole task after a warm-up, by the clock and by the processor. ``same`` counts equal letters, ``apart`` is the
greatest difference of a log-likelihood in nats. With few ``--subjects``, questions share their
examples as they do in the whole test (14,042 questions of 57 subjects: 246 to a subject).
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--items", type=int, default=40, help="questions of each subject, at most")
    parser.add_argument("--subjects", type=int, default=2, help="how many subjects")
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 5])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from hephaestus_dag.evaluation.general.config import MmluConfig
    from hephaestus_dag.evaluation.general.lm_eval_model import LmEvalModel, run_task
    from hephaestus_dag.evaluation.general.mmlu import TASK, mmlu_prompts
    from hephaestus_dag.evaluation.general.mmlu_items import export_mmlu, mmlu_items
    from hephaestus_dag.evaluation.huggingface import HuggingFaceModel

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_mmlu(MmluConfig(location=str(options.questions.resolve())), folder)
        every = mmlu_items(folder, "test")
        subjects = sorted({row["category"] for row in every})[: options.subjects]
        asked = [row for subject in subjects for row in [r for r in every if r["category"] == subject][: options.items]]
        prompts = {shots: mmlu_prompts(folder, asked, shots) for shots in options.shots}

    weights: Any = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    theirs: Any = HFLM
    sides = {
        "ours": LmEvalModel(HuggingFaceModel(options.model, batch_size=options.batch_size), max_new_tokens=1),
        "HFLM": theirs(
            pretrained=weights,
            tokenizer=AutoTokenizer.from_pretrained(options.model),
            batch_size=options.batch_size,
            device="cpu",
        ),
    }
    print(f"{len(asked)} questions of {len(subjects)} subjects, batch size {options.batch_size}, {options.threads} threads")
    print(f"{'shots':>5} {'by':5} {'items/s':>8} {'items/CPU-s':>12} {'right':>6}")
    for shots, texts in prompts.items():
        documents = [{"prompt": text, "answer": row["answer"]} for row, text in zip(asked, texts or [], strict=True)]
        rates, found = {}, {}
        for side, model in sides.items():
            run_task(model, TASK, documents[:4])  # The first passes of a process are slow.
            clock, processor = time.perf_counter(), time.process_time()
            samples = run_task(model, TASK, documents)
            clock, processor = time.perf_counter() - clock, time.process_time() - processor
            rates[side] = len(asked) / processor
            found[side] = [[nats for nats, _ in sample["filtered_resps"]] for sample in samples]
            right = sum(bool(sample["acc"]) for sample in samples)
            print(f"{shots:5} {side:5} {len(asked) / clock:8.2f} {rates[side]:12.2f} {right:6}", flush=True)
        pairs = list(zip(*found.values(), strict=True))
        same = sum(one.index(max(one)) == other.index(max(other)) for one, other in pairs)
        apart = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
        ratio = rates["ours"] / rates["HFLM"]
        print(f"{shots:5} ratio {ratio:.2f} by the processor, same {same} of {len(asked)}, apart {apart:.1e}", flush=True)


if __name__ == "__main__":
    main()
