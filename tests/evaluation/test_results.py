"""Results of runs are kept in small folders, and the page follows from them alone."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hephaestus_dag.recipe_file import read_recipe
from tests.evaluation.results_store import QUESTION, ScoredRun, tiny_recipe

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from results_items import LONGEST  # noqa: E402
from results_kept import ResultsError, keep  # noqa: E402
from results_page import PLACE, SECTIONS, write_page  # noqa: E402
from results_pictures import draw  # noqa: E402
from results_runs import Results, Run, read_results  # noqa: E402

import results  # noqa: E402

TRAINED_ONLY = {"tiny": {"stages": [1, 2]}}
Keeper = Callable[..., Path]


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Keeper:
    """Keeps a run with so many right items of ``base`` and ``tiny`` in a folder; each run is built once."""
    stores: dict[tuple[int, int, int], Path] = {}

    def kept(into: Path, base: int = 0, tiny: int = 20, seed: int = 0) -> Path:
        if (base, tiny, seed) not in stores:
            stores[base, tiny, seed] = tmp_path_factory.mktemp("store")
            ScoredRun(stores[base, tiny, seed], {"base": base, "tiny": tiny}, seed)
        recipe = tiny_recipe(seed, **({"variants": TRAINED_ONLY} if seed else {}))
        folders, lacking = keep(recipe, f"{recipe.name}.yaml", stores[base, tiny, seed], into / "runs", "an abacus")
        assert not lacking
        assert [folder.name for folder in folders] == [*recipe.variants]
        return into

    return kept


def read(folder: Path) -> Results:
    return read_results(tiny_recipe(), folder / "runs", folder / "second-clone")


def section(name: str, folder: Path) -> str:
    return SECTIONS[name](read(folder))


def test_the_page_follows_from_the_kept_folders_alone(keeper: Keeper, tmp_path: Path) -> None:
    keeper(keeper(tmp_path / "one"), tiny=24, seed=1)
    template = (ROOT / "results" / "page.md").read_text()
    first = write_page(read(tmp_path / "one"), template)
    shutil.move(tmp_path / "one", tmp_path / "two")
    assert write_page(read(tmp_path / "two"), template) == first
    assert "No run has a higher score than `tiny, seed 1`: 60.0 % [44.6, 73.7] of BFCL AST non-live" in first
    assert "`tiny` is above `base`: +50.0 ± 17.0 (seed 0); +60.0 ± 16.7 (seed 1)." in first
    assert "`tiny, seed 1` − `tiny, seed 0`: no difference seen (+10.0 ± 11.5)" in first
    assert "| `base`         | 0.0 [0.0, 8.8]      |" in first
    assert "hephaestus run tiny-seed1.yaml --job score_tiny" in first
    assert "{{" not in first
    assert "an abacus" in first
    pictures = draw(read(tmp_path / "two"), tmp_path)
    before = [path.read_bytes() for path in pictures]
    assert [path.read_bytes() for path in draw(read(tmp_path / "two"), tmp_path)] == before


def test_what_is_kept_is_small_and_holds_no_reply_but_those_of_the_shown_items(keeper: Keeper, tmp_path: Path) -> None:
    folder = keeper(tmp_path) / "runs" / "tiny" / "tiny"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 60_000
    items = json.loads((folder / "items.json").read_text())
    assert [item["right"] for item in items] == [True] * 10 + [False] * 10
    assert len({item["item_id"] for item in items}) == 20
    one = items[0]
    assert one["question"] == QUESTION.format(one["item_id"])
    assert one["functions"] == ["land.keeper(area, unit)"]
    assert one["expected"] == f"[f({one['item_id']})]"
    assert len(one["answer"]) == LONGEST
    assert items[-1]["reason"] == "wrong value"
    assert not list(folder.parent.glob(".*"))
    shown = section("items", tmp_path)
    assert shown.count("right  simple_") == shown.count("WRONG  simple_") == 10


def test_five_documents_stand_behind_the_best_score(keeper: Keeper, tmp_path: Path) -> None:
    lines = section("lineage", keeper(tmp_path)).splitlines()
    assert lines[1].startswith("$ hephaestus trace tiny/bfcl_scores@")
    first = lines.index("the 5 documents with most tokens:") + 4
    assert all("==1/" in line for line in lines[first : first + 5])
    asked = next(line for line in lines if "--item bfcl/simple_" in line)
    right = {item["item_id"] for item in read(tmp_path).best.read("items.json") if item["right"]}
    assert asked.partition("--item bfcl/")[2].partition("`")[0] in right
    assert "==1/" in lines[-1]


@pytest.mark.parametrize(
    ("base", "tiny", "again", "said"),
    [
        (0, 20, 24, "- `tiny` is above `base`:"),
        (24, 0, 0, "- `base` is above `tiny`:"),
        (19, 20, 20, "- `base` and `tiny` are not told apart: no difference seen (−2.5 ±"),
        (19, 20, 40, "- `base` and `tiny`: their runs do not agree, so nothing is said:"),
        (24, 0, 24, "- `base` and `tiny`: their runs do not agree, so nothing is said:"),
    ],
)
def test_an_order_is_stated_only_where_every_seed_shows_it(
    keeper: Keeper, tmp_path: Path, base: int, tiny: int, again: int, said: str
) -> None:
    keeper(keeper(tmp_path, base, tiny), base, again, seed=1)
    told = section("ordering", tmp_path)
    assert said in told
    assert ("is above" in told) == ("is above" in said)


def test_only_runs_of_one_seed_are_compared(keeper: Keeper, tmp_path: Path) -> None:
    keeper(keeper(tmp_path), tiny=24, seed=1)
    for recipe in ("tiny", "tiny-seed1"):
        shutil.copytree(tmp_path / "runs" / recipe / "tiny", tmp_path / "runs" / recipe / "other")
        path = tmp_path / "runs" / recipe / "other" / "run.json"
        path.write_text(path.read_text().replace('"variant": "tiny"', '"variant": "other"'))
    variants = {"base": {"stages": []}, "tiny": {"stages": [1, 2]}, "other": {"stages": [1, 2]}}
    found = read_results(tiny_recipe(variants=variants), tmp_path / "runs", tmp_path / "nowhere")
    said = SECTIONS["ordering"](found)
    same = "no difference seen (0.0 ± 6.6)"
    assert f"- `tiny` and `other` are not told apart: {same} (seed 0); {same} (seed 1)." in said
    assert found.missing == []


def test_a_missing_variant_is_an_error_unless_the_page_names_it(keeper: Keeper, tmp_path: Path) -> None:
    keeper(tmp_path)
    shutil.rmtree(tmp_path / "runs" / "tiny" / "tiny")
    with pytest.raises(ResultsError, match=r"nothing is kept of tiny: run\n  hephaestus run tiny --job score_tiny"):
        write_page(read(tmp_path), "{{ calls }}")
    said = write_page(read(tmp_path), "# Who?\n\n{{ missing }}\n\n{{ calls }}\n")
    assert said.startswith("# Who?\n\nNot run: `tiny`.")
    with pytest.raises(ResultsError, match="asks for wonders; there are short, missing"):
        write_page(read(tmp_path), "{{ wonders }}")


def test_a_store_without_all_scores_of_a_variant_keeps_none_of_it(tmp_path: Path) -> None:
    ScoredRun(tmp_path / "store", {"base": 0, "tiny": 1}, without=("tiny/mmlu_scores",))
    folders, lacking = keep(tiny_recipe(), "mine.yaml", tmp_path / "store", tmp_path / "runs")
    assert [folder.name for folder in folders] == ["base"]
    assert lacking == [
        f"tiny: {tmp_path / 'store'} has no tiny/mmlu_scores of tiny; run `hephaestus run mine.yaml --job score_tiny`"
    ]
    with pytest.raises(ResultsError, match=r"has no tiny/bfcl_scores, .*of tiny-seed1"):
        keep(tiny_recipe(1, variants=TRAINED_ONLY), "seed1.yaml", tmp_path / "store", tmp_path / "runs")


def test_a_score_that_its_rows_do_not_give_is_refused(keeper: Keeper, tmp_path: Path) -> None:
    path = keeper(tmp_path) / "runs" / "tiny" / "tiny" / "scores" / "bfcl" / "summary.json"
    path.write_text(path.read_text().replace('"score": 0.5', '"score": 0.9'))
    with pytest.raises(ResultsError, match=r"summary.json: BFCL AST non-live is 0.9 of 40 items, but .* gives 0.500000 of 40"):
        section("calls", tmp_path)


def test_runs_of_other_recipes_are_not_mixed(keeper: Keeper, tmp_path: Path) -> None:
    keeper(keeper(tmp_path), tiny=24, seed=1)

    def change(run: str, *way: str, value: object) -> None:
        path = tmp_path / "runs" / run / "recipe.json"
        values = json.loads(path.read_text())
        part = values
        for name in way[:-1]:
            part = part[name]
        part[way[-1]] = value
        path.write_text(json.dumps(values))

    change("tiny-seed1/tiny", "evaluation", "agentbench", "data", value="elsewhere")
    change("tiny-seed1/tiny", "execution", "threads", value=7)
    change("tiny/base", "mixture", "stage1_tokens", value=12_345)
    assert len(read(tmp_path).runs) == 3
    change("tiny-seed1/tiny", "mixture", "stage1_tokens", value=12_345)
    with pytest.raises(ResultsError, match=r"mixture.stage1_tokens: .* Run one of them again"):
        read(tmp_path)
    change("tiny-seed1/tiny", "mixture", "stage1_tokens", value=300_000)
    change("tiny/base", "evaluation", "bfcl", "max_new_tokens", value=1)
    with pytest.raises(ResultsError, match=r"evaluation.bfcl.max_new_tokens: 1 → 48"):
        read(tmp_path)


def test_a_second_clone_is_set_beside_the_first(keeper: Keeper, tmp_path: Path) -> None:
    keeper(tmp_path)
    assert section("second_clone", tmp_path) == "No run has been repeated in a second clone yet."
    for tiny, inside in ((21, "yes"), (40, "no")):
        shutil.move(keeper(tmp_path / f"clone {tiny}", tiny=tiny) / "runs", tmp_path / "second-clone")
        row = section("second_clone", tmp_path).splitlines()[-1]
        assert [cell.strip() for cell in row.split("|")[2:5]] == ["50.0 [35.2, 64.8]", f"{100 * tiny / 40:.1f}", inside]
        shutil.rmtree(tmp_path / "second-clone")


def test_an_aim_is_reached_or_not(keeper: Keeper, tmp_path: Path) -> None:
    lines = [[cell.strip() for cell in line.split("|")[2:6]] for line in section("aims", keeper(tmp_path, 0, 10)).splitlines()]
    found = {line[0]: line[2:] for line in lines}
    assert found["BFCL AST non-live"] == ["25.0 %", "no"]
    assert found["MMLU 0-shot"] == ["+5.0 points", "yes"]
    assert found["loss on held-out text"] == ["+2.0 %", "yes"]
    assert found["hours of training"] == ["2.00", "yes"]


def test_the_command_keeps_again_and_says_how_the_new_score_stands(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper(tmp_path, tiny=20)
    ScoredRun(tmp_path / "store", {"base": 0, "tiny": 40})
    monkeypatch.setattr(results, "read_recipe", lambda name: (tiny_recipe(), []))
    arguments = ["tiny.yaml", "--store", str(tmp_path / "store"), "--into", str(tmp_path / "runs")]
    assert results.main(["keep", *arguments]) == 0
    assert "tiny: BFCL AST non-live 1.000 [0.912, 1.000], before 0.500: OUTSIDE its interval" in capsys.readouterr().out
    assert len(Run(tmp_path / "runs" / "tiny" / "tiny").stages) == 2
    (tmp_path / "page.md").write_text("# Who?\n\n{{ calls }}\n")
    assert results.main(["write", "--kept", str(tmp_path), "--page", str(tmp_path / "results.md")]) == 0
    assert "| `tiny, seed 0` | 100.0 [91.2, 100.0]" in (tmp_path / "results.md").read_text()
    assert results.main(["write", "--kept", str(tmp_path / "nowhere"), "--page", str(tmp_path / "no.md")]) == 1
    assert "holds no kept run" in capsys.readouterr().err


def test_the_hand_written_page_asks_for_sections_that_there_are() -> None:
    asked = PLACE.findall((ROOT / "results" / "page.md").read_text())
    assert {*asked} <= {*SECTIONS}
    assert len(asked) == len({*asked}) > 15


def test_the_second_seed_changes_the_draws_and_nothing_else() -> None:
    one, other = (read_recipe(name)[0].model_dump(mode="json") for name in ("smollm2", "smollm2-seed1"))
    del one["variants"]["base"]
    assert (one["mixture"]["seed"], other["mixture"]["seed"]) == (0, 1)
    other["mixture"]["seed"] = other["mixture"]["instruction"]["seed"] = 0
    assert one | {"name": "", "description": ""} == other | {"name": "", "description": ""}
    assert list(one["variants"]) == list(other["variants"])


@pytest.mark.skipif(not (ROOT / "docs" / "results.md").exists(), reason="no results are kept yet")
def test_the_published_page_is_what_the_kept_runs_give() -> None:
    recipe, _ = read_recipe("smollm2")
    found = read_results(recipe, ROOT / "results" / "runs", ROOT / "results" / "second-clone")
    assert write_page(found, (ROOT / "results" / "page.md").read_text()) == (ROOT / "docs" / "results.md").read_text()
