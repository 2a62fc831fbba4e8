"""Feeds a parser thousands of damaged copies of a good file: nothing may escape it, and what it refuses it must explain."""

import re
from pathlib import Path
from random import Random
from typing import Any

import orjson

from hephaestus_dag.documents import Domain, Reject
from hephaestus_dag.sources import load_kind
from hephaestus_dag.sources.config import SourceConfig

_WRONG: list[Any] = [None, 0, -1, 1e308, "", "x", [], {}, [[]], {"$ref": "#"}, {"": None}, True, "\ud800", "🙂" * 50, "\x00"]
_TOKEN = re.compile(rb"[\w$]+|[^\w\s]")


def fuzz(kind: str, folder: Path, name: str, content: bytes, count: int, domain: Domain = "agent", **config: Any) -> int:
    """Read ``count`` damaged copies of a file of one kind, and return how many rejects there were.

    Called below the registry, whose last resort would hide an exception that the parser lets through.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    source = SourceConfig.model_validate(
        {"name": "fuzzed", "kind": kind, "location": str(folder), "domain": domain, "license": "MIT", **config}
    )
    reader = load_kind(kind)
    items = reader.list_items(source)
    assert items, "the good file must be found"
    assert any(not isinstance(found, Reject) for item in items for found in reader.read_item(source, item))
    rejects = 0
    for number in range(count):
        damaged = damage(content, Random(f"{kind}:{number}"))
        path.write_bytes(damaged)
        for item in reader.list_items(source):
            try:
                found = list(reader.read_item(source, item))
            except Exception as error:
                raise AssertionError(f"copy {number} of {name} raised {error!r}:\n{damaged[:2000]!r}") from error
            for reject in (each for each in found if isinstance(each, Reject)):
                assert reject.source == "fuzzed"
                assert reject.origin
                assert reject.position
                assert reject.reason
                rejects += 1
    return rejects


def damage(content: bytes, rng: Random) -> bytes:
    """Return a damaged copy: of JSON now and then a value of the wrong sort, else bytes or tokens lost, moved or swapped."""
    if content[:1] in (b"{", b"[") and rng.random() < 0.6:
        lines = content.splitlines() if _is_lines(content) else [content]
        at = rng.randrange(len(lines))
        value = orjson.loads(lines[at])
        for _ in range(rng.randint(1, 3)):
            _spoil(value, rng)
        lines[at] = _dump(value)
        return b"\n".join(lines)
    tokens = [match.span() for match in _TOKEN.finditer(content)] or [(0, len(content))]
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        first, last = rng.choice(tokens)
        action = rng.randrange(6)
        if action == 0:
            del damaged[first:last]
        elif action == 1:
            damaged[first:last] = content[slice(*rng.choice(tokens))]
        elif action == 2:
            damaged[first:first] = rng.randbytes(rng.randint(1, 8))
        elif action == 3:
            del damaged[rng.randrange(len(damaged) + 1) :]
        elif action == 4:
            damaged[first:first] = damaged[first : first + rng.randint(1, 400)]
        elif damaged:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def _is_lines(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return True
    return False


def _spoil(value: Any, rng: Random) -> None:
    """Replace or remove one member, somewhere inside."""
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.2:
            if rng.random() < 0.3:
                del value[key]
            else:
                value[key] = rng.choice(_WRONG)
            return
        value = inner


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # a lone surrogate, which no writer of UTF-8 produces
        return orjson.dumps(str(value).encode(errors="replace").decode())
