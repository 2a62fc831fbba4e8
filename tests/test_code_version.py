from pathlib import Path

import pytest

from hephaestus_dag import code_version


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hephaestus_dag"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "filters.py").write_text("from hephaestus_dag.deep.words import LIMIT\n\ndef keep(n):\n    return n > LIMIT\n")
    (folder / "deep" / "words.py").write_text("LIMIT = 3\n")
    (folder / "other.py").write_text("UNRELATED = 1\n")
    monkeypatch.setattr(code_version, "_ROOT", folder)
    return folder


def asset(build):
    """Uses a filter."""
    from hephaestus_dag.filters import keep  # pyright: ignore[reportMissingImports]

    return keep(build)


def version() -> str:
    code_version._module.cache_clear()
    return code_version.function_version(asset)


def test_version_follows_imports_and_ignores_layout(package: Path) -> None:
    before = version()
    (package / "other.py").write_text("UNRELATED = 2\n")
    (package / "filters.py").write_text(
        '"""Doc."""\nfrom hephaestus_dag.deep.words import LIMIT  # why\n\n\n'
        'def keep(n):\n    """Keep."""\n    return n > LIMIT\n'
    )
    assert version() == before
    (package / "deep" / "words.py").write_text("LIMIT = 4\n")
    assert version() != before


def test_programs_that_are_run_by_name_count_too(package: Path) -> None:
    code_version._module.cache_clear()
    before = code_version.function_version(asset, ("hephaestus_dag.other",))
    (package / "other.py").write_text("UNRELATED = 2\n")
    code_version._module.cache_clear()
    assert code_version.function_version(asset, ("hephaestus_dag.other",)) != before
    with pytest.raises(ModuleNotFoundError, match="missing"):
        code_version.function_version(asset, ("hephaestus_dag.missing",))
