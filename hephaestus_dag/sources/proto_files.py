"""Protocol Buffers files as syntax trees, and the search for the types that they name."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from antlr4.error.ErrorListener import ErrorListener
from proto_schema_parser import ast
from proto_schema_parser.parser import Parser

_MOST_IMPORTS = 400
"""Files that are looked through for the types of one file."""


class MalformedProtoError(Exception):
    """A file that is not in the language, and the line where that shows."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class ProtoFile:
    """What one file declares."""

    package: str
    imports: tuple[str, ...]
    options: dict[str, Any]
    services: tuple[ast.Service, ...]
    types: dict[str, Any] = field(repr=False)
    """Full name -> message, enumeration or group."""


class _Strict(ErrorListener):
    def syntaxError(self, recognizer: Any, offendingSymbol: Any, line: int, column: int, msg: str, e: Any) -> NoReturn:
        raise MalformedProtoError(msg, line)


def parse_proto(text: str) -> ProtoFile:
    """Return what a file declares.

    Raises MalformedProtoError, and what the parser raises for literals that are out of range.
    """

    def strictly(recognizer: Any) -> None:
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(_Strict())

    tree = Parser(setup_lexer=strictly, setup_parser=strictly).parse(text)
    elements = tree.file_elements
    package = next((element.name for element in elements if isinstance(element, ast.Package)), "")
    return ProtoFile(
        package=package,
        imports=tuple(element.name for element in elements if isinstance(element, ast.Import)),
        options={element.name: element.value for element in elements if isinstance(element, ast.Option)},
        services=tuple(element for element in elements if isinstance(element, ast.Service)),
        types=dict(_types(elements, package)),
    )


@lru_cache(maxsize=128)
def _imported(text: str) -> ProtoFile | None:
    try:
        return parse_proto(text)
    except (MalformedProtoError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None  # set aside when its own turn comes


def _types(elements: Iterable[Any], inside: str) -> Iterator[tuple[str, Any]]:
    for element in elements:
        if isinstance(element, ast.Message | ast.Enum | ast.Group):
            full = f"{inside}.{element.name}" if inside else element.name
            yield full, element
            if not isinstance(element, ast.Enum):
                yield from _types(element.elements, full)


class Scope:
    """Finds the types that a file names, in itself and in what it imports."""

    def __init__(self, file: ProtoFile, folder: Path, path: str) -> None:
        self.file = file
        self._types = dict(file.types)
        self._folder = folder
        self._path = PurePosixPath(path)
        self._waiting = sorted(file.imports, key=self._distance)
        self._seen: set[str] = set()

    def find(self, name: str, inside: str) -> tuple[str, Any] | None:
        """Return full name and declaration of a type that is named inside a package or message; None if it is not there."""
        while True:
            scope = inside.split(".") if inside and not name.startswith(".") else []
            for end in range(len(scope), -1, -1):
                full = ".".join([*scope[:end], name.lstrip(".")])
                if full in self._types:
                    return full, self._types[full]
            if not self._import_next():
                return None

    def _import_next(self) -> bool:
        """Add the types of the next imported file that is there; False when none is left."""
        while self._waiting and len(self._seen) < _MOST_IMPORTS:
            name = self._waiting.pop(0)
            if name in self._seen:
                continue
            self._seen.add(name)
            found = self._locate(name)
            if not found:
                continue
            try:
                file = _imported(found.read_text("utf-8"))
            except (OSError, UnicodeDecodeError):
                continue
            if not file:
                continue
            self._types = file.types | self._types
            self._waiting += file.imports
            self._waiting.sort(key=self._distance)
            return True
        return False

    def _distance(self, name: str) -> int:
        """Return how many folders of an import are none of the file's: what a file names mostly lies beside it."""
        return sum(folder not in self._path.parts for folder in PurePosixPath(name).parent.parts)

    def _locate(self, name: str) -> Path | None:
        """Return the file that an import names, relative to a folder above the importing file but inside the source."""
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return None
        for above in self._path.parents:
            path = self._folder / above / name
            if path.is_file():
                return path
        return None


def comments(elements: Iterable[Any], wanted: type | tuple[type, ...]) -> Iterator[tuple[Any, str]]:
    """Yield the wanted elements with the comment that stands before each, or else on its line."""
    waiting: list[str] = []
    pending: Any = None
    for element in elements:
        if isinstance(element, ast.Comment):
            if element.inline:
                if pending is not None:
                    yield pending, _words([element.text])
                    pending = None
            else:
                waiting.append(element.text)
            continue
        if pending is not None:
            yield pending, ""
            pending = None
        if isinstance(element, wanted):
            if waiting:
                yield element, _words(waiting)
            else:
                pending = element
        waiting = []
    if pending is not None:
        yield pending, ""


def _words(texts: list[str]) -> str:
    """Return comments without their marks, each paragraph on one line, lists and indented lines kept."""
    lines: list[str] = []
    for text in texts:
        if text.startswith("/*"):
            lines += [re.sub(r"^\s*\* ?", "", line) for line in text[2:].removesuffix("*/").split("\n")]
        else:
            lines += [re.sub(r"^//+ ?", "", text)]
    whole = ""
    for line in (line.rstrip() for line in lines):
        starts = not line or line[0] in " \t" or re.match(r"(?:[-*+#>|]|\d+\.)\s|```", line)
        whole += ("\n" if starts or whole.endswith("\n") else " ") + line if whole else line.lstrip()
        whole += "\n" if not line and not whole.endswith("\n\n") else ""
    return re.sub(r"\n{3,}", "\n\n", whole).strip()


def option(elements: Iterable[Any], name: str) -> Any:
    """Return the value of an option among elements, or None; a list of values where it is given several times."""
    values = [e.value for e in elements if isinstance(e, ast.Option) and e.name.strip("()") == name]
    values = [value.name if isinstance(value, ast.Identifier) else value for value in values]
    return values[0] if len(values) == 1 else values or None
