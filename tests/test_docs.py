"""What the pages show is true: their recipes can be read, and their links lead somewhere."""

import re
from pathlib import Path

import pytest

from hephaestus_dag.recipe_file import read_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = [
    (page.name, block) for page in PAGES for block in re.findall(r"```yaml\n(extends:.*?)```", page.read_text(), re.DOTALL)
]


@pytest.mark.parametrize(("page", "text"), RECIPES, ids=[f"{page} {number}" for number, (page, _) in enumerate(RECIPES)])
def test_a_shown_recipe_lacks_nothing_but_its_inputs(page: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    recipe, _missing = read_recipe(str(path))
    assert recipe.name in text


def test_links_between_pages_lead_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())]
    assert len(links) > len(PAGES)
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_page_asks_a_question_is_listed_in_the_readme_and_leads_on() -> None:
    readme, generated = PAGES[0].read_text(), "recipe-fields.md"
    for page in PAGES[1:]:
        text = page.read_text()
        assert text.startswith("# "), page.name
        assert text.partition("\n")[0].endswith("?"), page.name
        assert f"(docs/{page.name})" in readme, page.name
        assert page.name == generated or "\n## Next\n" in text, page.name
