from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

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


def version(*programs: str, function: Callable[..., Any] = asset) -> str:
    for read in (code_version._module, code_version._path):
        read.cache_clear()
    return code_version.function_version(function, programs)


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
    before = version("hephaestus_dag.other")
    (package / "other.py").write_text("UNRELATED = 2\n")
    assert version("hephaestus_dag.other") != before
    with pytest.raises(ModuleNotFoundError, match="missing"):
        version("hephaestus_dag.missing")


def test_an_edit_after_the_version_was_taken_is_noticed(package: Path) -> None:
    version("hephaestus_dag.other")
    assert code_version.edited_since(asset, ("hephaestus_dag.other",)) == []
    (package / "deep" / "words.py").write_text("LIMIT = 40\n")
    (package / "other.py").unlink()
    edited = code_version.edited_since(asset, ("hephaestus_dag.other",))
    assert edited == [str(package / "deep" / "words.py"), str(package / "other.py")]
    assert code_version.edited_since(asset) == [str(package / "deep" / "words.py")]


@contextmanager
def opened(build):
    from hephaestus_dag.filters import keep  # pyright: ignore[reportMissingImports]

    yield keep(build)


@cache
def remembered(build):
    with opened(build) as one:
        return one


def follower(build):
    return remembered(build)


@pytest.mark.parametrize("function", [opened, remembered, follower])
def test_the_code_behind_a_decorator_counts(package: Path, function: Callable[..., Any]) -> None:
    before = version(function=function)
    (package / "deep" / "words.py").write_text("LIMIT = 4\n")
    assert version(function=function) != before


ALIKE = [
    ("x = 'a'  # why", 'x = "a"'),
    ("x = [1, 2]", "x = [\n    1,\n    2,\n]"),
    ("def f():\n    'Doc.'\n    return 1", "def f():\n    return 1"),
    ("if x:\n    def f():\n        'Doc.'\n        return 1", "if x:\n    def f(): return 1"),
    ("try:\n    class C:\n        'Doc.'\n        n = 1\nexcept E: pass", "try:\n    class C:\n        n = 1\nexcept E: pass"),
    ("x = 0x10", "x = 16"),
]
OTHER = [
    ("x = 1", "x = True"),
    ("x = 1", "x = 1.0"),
    ("x = 'a'", "x = b'a'"),
    ("x = ''", "x = None"),
    ("def f(): return", "def f(): return None"),
    ("x = a", "x = 'a'"),
    ("x = [[1], 2]", "x = [[1, 2]]"),
    ("f(a, b)", "f(a)(b)"),
    ("f(a, *b)", "f(a, b)"),
    ("f(x=1)", "f(y=1)"),
    ("{**a, 'b': 1}", "{'b': 1, **a}"),
    ("def f(a, *, b=1): pass", "def f(a, b=1): pass"),
    ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
    ("def f(a: int): pass", "def f(a): pass"),
    ("@g\ndef f(): pass", "def f(): pass"),
    ("if a:\n    b\nelse:\n    c", "if a:\n    b\nc"),
    ("for a in b:\n    c\nelse:\n    d", "for a in b:\n    c\n    d"),
    ("async def f(): pass", "def f(): pass"),
    ("from hephaestus_dag import other", "from hephaestus_dag import other as o"),
    ("f'{x!r}'", "f'{x}'"),
    ("x = a < b < c", "x = a < b > c"),
    ("x: int = 1", "x = 1"),
    ("match a:\n    case 1: b", "match a:\n    case 2: b"),
    ("lambda: 'a'", "lambda: 'b'"),
    ("def f():\n    'a' + g()", "def f():\n    g()"),
]


@pytest.mark.parametrize(("one", "two", "same"), [*((*pair, True) for pair in ALIKE), *((*pair, False) for pair in OTHER)])
def test_two_texts_have_one_version_when_they_are_one_program(package: Path, one: str, two: str, same: bool) -> None:
    versions = []
    for text in (one, two):
        (package / "filters.py").write_text(f"{text}\n\ndef keep(n): return n\n")
        versions.append(version())
    assert (versions[0] == versions[1]) == same


@pytest.mark.parametrize(
    "statement",
    [
        "if 1:\n    from hephaestus_dag.other import UNRELATED",
        "try: pass\nexcept E:\n    import hephaestus_dag.other",
        "try: pass\nfinally:\n    import hephaestus_dag.other",
        "match 1:\n    case 1:\n        from hephaestus_dag import other",
        "class C:\n    def f(self):\n        with a:\n            while b:\n                import hephaestus_dag.other",
        "for a in b: pass\nelse:\n    import hephaestus_dag.other",
    ],
)
def test_an_import_counts_wherever_it_stands(package: Path, statement: str) -> None:
    (package / "filters.py").write_text(f"{statement}\n\ndef keep(n): return n\n")
    before = version()
    (package / "other.py").write_text("UNRELATED = 2\n")
    assert version() != before
