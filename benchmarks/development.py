"""Score models on the development split for function calling: what to choose settings by, without asking BFCL.

    python benchmarks/development.py store/hephaestus/stage3_checkpoint/*/model --json scores.json --wrong 20

The items are of held-out topics, held-out services, and written by hand; the prompt, the decoder and the checker are BFCL's.
With several models, each is compared with the first, item by item.
"""

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch

from hephaestus_dag.evaluation.bfcl.environment import ensure_environment
from hephaestus_dag.evaluation.development.items import development_items
from hephaestus_dag.evaluation.development.score import Outcome, score_development, shares
from hephaestus_dag.evaluation.huggingface import HuggingFaceModel
from hephaestus_dag.evaluation.statistics import mcnemar
from hephaestus_dag.models import resolve_model


def show(name: str, outcomes: list[Outcome], seconds: float, wrong: int) -> None:
    """Print a model's shares, why it was wrong, and some of its wrong replies."""
    print(f"\n{name}: {len(outcomes)} items, {seconds:.0f} s")
    for part, share in shares(outcomes).items():
        print(f"  {part:28} {share.score:6.1%}  [{share.low:5.1%}, {share.high:5.1%}]  {share.items:4}")
    reasons = Counter(o.reason.split(":")[0] for o in outcomes if not o.valid)
    print("  wrong: " + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(8)))
    for outcome in [o for o in outcomes if not o.valid][:wrong]:
        print(f"  - {outcome.item.item_id}: {outcome.item.question}\n      {outcome.reply!r}\n      {outcome.reason}")


def tell(done: int, of: int) -> None:
    """Show how far a model is."""
    print(done, of, end="\r", file=sys.stderr)


def main() -> None:
    """Print the shares of each model, and how it differs from the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="folders, or names of packaged models")
    parser.add_argument("--cache", type=Path, default=Path("store/.cache"), help="where a packaged model and the checker lie")
    parser.add_argument("--sources", nargs="*", default=["everyday", "service", "written"], help="which items are asked")
    parser.add_argument("--every", type=int, default=1, help="ask every n-th item only")
    parser.add_argument("--new-tokens", type=int, default=160, help="longest reply in tokens")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"), help="number format")
    parser.add_argument("--wrong", type=int, default=0, help="wrong replies to print")
    parser.add_argument("--json", type=Path, help="where to write the shares and all replies")
    options = parser.parse_args()
    items = [item for item in development_items() if item.category.partition("_")[0] in options.sources][:: options.every]
    python = ensure_environment(options.cache / "bfcl")
    found: dict[str, list[Outcome]] = {}
    for name in options.models:
        began = time.monotonic()
        folder = resolve_model(name, options.cache)
        model = HuggingFaceModel(folder, {}, device=options.device, dtype=options.dtype)
        found[name] = score_development(model, python, items, options.new_tokens, tell)
        show(name, found[name], time.monotonic() - began, options.wrong)
        first = found[options.models[0]]
        if name != options.models[0]:
            pairs = [(one.valid, other.valid) for one, other in zip(first, found[name], strict=True)]
            won, lost = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
            print(f"  against {options.models[0]}: {won} won, {lost} lost, p = {mcnemar(*zip(*pairs, strict=True)):.3f}")
    if options.json:
        told = {
            name: {
                "shares": {part: asdict(share) for part, share in shares(outcomes).items()},
                "items": [
                    {"id": o.item.item_id, "category": o.item.category, "question": o.item.question, "reply": o.reply}
                    | {"valid": o.valid, "reason": o.reason}
                    for o in outcomes
                ],
            }
            for name, outcomes in found.items()
        }
        options.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
