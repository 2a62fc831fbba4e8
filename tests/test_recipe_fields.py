from pathlib import Path

from hephaestus_dag.recipe_fields import markdown

PAGE = Path(__file__).parents[1] / "docs" / "recipe-fields.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == markdown(), "write it again with: hephaestus fields > docs/recipe-fields.md"


def test_fields_have_types_bounds_defaults_and_links() -> None:
    lines = markdown().splitlines()
    assert any(
        line.startswith("| `variants` | mapping of text to [Variant](#variant) (at least 1) | required | ") for line in lines
    )
    assert "| `stages` | list of `1` or `2` or `3` | `[1, 2, 3]` | Stages that are trained, ascending |" in lines
    links = {part.partition(")")[0] for line in lines for part in line.split("](#")[1:]}
    assert links <= {line.removeprefix("## ").lower() for line in lines if line.startswith("## ")}
    assert not [line for line in lines if line.startswith("| `") and line.endswith("|  |")], "a field without a description"
