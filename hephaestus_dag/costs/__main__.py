"""Say what a run of a recipe would take, without running it::

python -m hephaestus_dag.costs paper --gpu A100-40GB --mfu 0.35 [--store store] [--json]

Inputs that are missing here are listed, each with its line in the recipe; a recipe with invalid values is refused.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from hephaestus_dag.costs.estimate import estimate
from hephaestus_dag.costs.gpus import MEMORY_GIB, find_gpu
from hephaestus_dag.costs.show import as_json, print_estimate
from hephaestus_dag.recipe_file import RecipeError, read_recipe


def main(arguments: Sequence[str]) -> int:
    """Print the estimate; return 0, or 2 when recipe or options are wrong."""
    parser = argparse.ArgumentParser(prog="python -m hephaestus_dag.costs", description=(__doc__ or "").partition("::")[0])
    parser.add_argument("recipe", nargs="?", default=os.environ.get("HEPHAESTUS_RECIPE", "laptop"), help="name or path")
    parser.add_argument("--gpu", default="A100-40GB", help=f"one of {', '.join(MEMORY_GIB)}")
    parser.add_argument("--mfu", type=float, default=0.35, help="share of the GPU's peak that is reached")
    parser.add_argument("--store", type=Path, default=Path(os.environ.get("HEPHAESTUS_STORE") or "store"), help="artifacts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    try:
        recipe, missing = read_recipe(given.recipe)
        found = estimate(recipe, find_gpu(given.gpu), given.mfu, missing, given.store)
    except (RecipeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        print_estimate(found, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
