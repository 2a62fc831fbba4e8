"""Keep the scores of finished runs in git, and write docs/results.md from all that is kept. `make results` does all of it.

    hephaestus run smollm2 --job score_hephaestus      # hours; any variant, in any session, on any machine
    python benchmarks/results.py keep smollm2          # results/runs/smollm2/hephaestus/: commit it
    python benchmarks/results.py write                 # docs/results.md and its pictures

The text of the page is results/page.md, written by hand; its numbers are those of the kept runs.
To show that a run can be repeated, run it in a second clone, and keep it there with `--into results/second-clone`.
"""

import argparse
import sys
from pathlib import Path

from results_kept import ResultsError, keep
from results_page import write_page
from results_pictures import draw
from results_runs import HEADLINE, Run, read_results

from hephaestus_dag.manifests import ArtifactError
from hephaestus_dag.recipe_file import RecipeError, read_recipe
from hephaestus_dag.store_location import store_folder

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "results"


def keep_command(options: argparse.Namespace) -> None:
    """Keep what a store holds of a recipe, and say how its scores compare with what was kept before."""
    recipe, _ = read_recipe(options.recipe)
    before = {path.parent.name: Run(path.parent).group(HEADLINE) for path in (options.into / recipe.name).glob("*/run.json")}
    kept, lacking = keep(recipe, options.recipe, store_folder(options.store), options.into, options.machine)
    for folder in kept:
        now, earlier = Run(folder).group(HEADLINE), before.get(folder.name)
        told = f": {HEADLINE} {now['score']:.3f} [{now['low']:.3f}, {now['high']:.3f}]" if now else ""
        if now and earlier:
            inside = earlier["low"] <= now["score"] <= earlier["high"]
            told += f", before {earlier['score']:.3f}: {'inside' if inside else 'OUTSIDE'} its interval"
        print(f"{folder}{told}")
    for line in lacking:
        print(line, file=sys.stderr)


def write_command(options: argparse.Namespace) -> None:
    """Write the page and its pictures."""
    recipe, _ = read_recipe(options.recipe)
    results = read_results(recipe, options.kept / "runs", options.kept / "second-clone")
    page = write_page(results, (options.kept / "page.md").read_text())
    options.page.write_text(page)
    for path in [options.page, *draw(results, options.page.parent)]:
        print(path)


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="keep|write")
    one = commands.add_parser("keep", help="keep the variants of a recipe whose scores a store has")
    one.add_argument("recipe", nargs="?", default="smollm2")
    one.add_argument("--store", default="", help="store of the run [$HEPHAESTUS_STORE or ./store]")
    one.add_argument("--into", type=Path, default=KEPT / "runs", help="folder of the kept runs")
    one.add_argument("--machine", default="", help="where it ran, in words, if it was not this machine")
    one.set_defaults(command=keep_command)
    other = commands.add_parser("write", help="write docs/results.md from all kept runs")
    other.add_argument("--recipe", default="smollm2", help="recipe whose variants are compared")
    other.add_argument("--kept", type=Path, default=KEPT, help="folder with runs/, second-clone/ and page.md")
    other.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md", help="page to write")
    other.set_defaults(command=write_command)
    options = parser.parse_args(arguments)
    try:
        options.command(options)
    except (ResultsError, ArtifactError, RecipeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
