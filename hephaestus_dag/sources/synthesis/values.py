"""Draws values that are valid against a JSON Schema and look like what somebody would write for a parameter of that name."""

import re
from collections.abc import Callable
from random import Random
from typing import Any

from hephaestus_dag.sources.synthesis.wording import words

_ADJECTIVES = """
    amber blue brisk calm clear coral daily early eastern fast final first fresh global golden green inner late light local
    main new night north open outer plain primary public quiet rapid red second silver small south spring staging sunny test
    upper weekly west winter
    """.split()  # noqa: SIM905
_NOUNS = """
    archive backup billing board bridge cache campus catalog chart cluster dashboard depot desk falcon garden harbor index
    invoice journal lab ledger library market meadow meter mobile network orders panel pipeline portal project queue
    records report river robot sales sensor server shop signal store studio summit survey team tower vault web
    workspace
    """.split()  # noqa: SIM905
_PEOPLE = "alice amir ana ben carla chen dana diego elena emma farid grace hana ivan jonas kofi lena maria noah".split()  # noqa: SIM905
_SENTENCES = (
    "Created for the quarterly review",
    "Used by the support team",
    "Please check before Friday",
    "Replaces the old setup",
    "Temporary, remove after the migration",
    "Requested by the data team",
)
_REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-southeast-2")


PLUMBING = re.compile(
    r"^(?:dry ?run|(?:(?:client|idempotency|creator) )?request (?:token|id)|(?:client|idempotency) token|request origin|"
    r"(?:next|page|start|continuation|pagination) ?token|next ?marker|marker|cursor|pretty ?print|quota ?user|fields|filters?|"
    r"(?:order|sort) ?by|(?:update|read|field) mask|alt|key|callback|"
    r"etag|(?:label )?fingerprint|upload ?type|upload protocol|return partial success)$|"
    r"^x ?gafv|^on behalf of"
)
"""Parameters that carry a request and say nothing about what is wanted, and those whose values are a language."""


class UnfillableError(ValueError):
    """A schema asks for a value that these rules cannot draw."""


def _pick(*choices: str) -> Callable[[Random], str]:
    return lambda rng: rng.choice(choices)


def _slug(rng: Random) -> str:
    return f"{rng.choice(_ADJECTIVES)}-{rng.choice(_NOUNS)}"


def _hex(rng: Random, digits: int) -> str:
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def _date(rng: Random) -> str:
    return f"{rng.randint(2023, 2026)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _time(rng: Random) -> str:
    return f"{_date(rng)}T{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 45)):02}:00Z"


def _ip(rng: Random) -> str:
    return f"10.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def _uuid(rng: Random) -> str:
    digits = _hex(rng, 32)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


_FORMATS: dict[str, Callable[[Random], str]] = {
    "date": _date,
    "date-time": _time,
    "google-datetime": _time,
    "google-duration": lambda rng: f"{rng.choice((30, 60, 300, 900))}s",
    "email": lambda rng: f"{rng.choice(_PEOPLE)}@example.com",
    "uri": lambda rng: f"https://example.com/{rng.choice(_NOUNS)}",
    "uuid": _uuid,
    "ipv4": _ip,
    **dict.fromkeys(("int32", "int64", "uint32", "uint64"), lambda rng: str(rng.randint(1, 10_000))),
}
_BY_NAME: list[tuple[str, Callable[[Random], str]]] = [
    (r"e?mail", _FORMATS["email"]),
    (r"order ?by|^sort", _pick("name", "createTime desc", "updateTime")),
    (r"^location$|region$", _pick(*_REGIONS)),
    (r"zone$", lambda rng: rng.choice(_REGIONS) + rng.choice("abc")),
    (r"ur[il]s?$|endpoint$|website|callback|link$", _FORMATS["uri"]),
    (r"ipv6 .*cidr|ipv6 ?cidr", lambda rng: f"2001:db8:{_hex(rng, 4)}::/64"),
    (r"ipv6 addresse?s?$", lambda rng: f"2001:db8::{_hex(rng, 4)}"),
    (r"cidr", lambda rng: f"10.{rng.randint(0, 255)}.0.0/16"),
    (r"\bips?\b|ip ?address", _ip),
    (r"policy document", _pick('{"Version": "2012-10-17", "Statement": []}')),
    (r"phone|mobile number", lambda rng: f"+1-555-01{rng.randint(0, 99):02}"),
    (r"time ?zone", _pick("Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC")),
    (
        r"timestamp|datetime|time$|(?:at|on|created|updated|modified|published|due|before|after)$|^(?:since|until|before|after)$",
        _time,
    ),
    (r"date$|birthday|deadline", _date),
    (r"version", lambda rng: f"{rng.randint(1, 4)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}"),
    (r"language|locale", _pick("en", "de", "fr", "ja", "pt-BR")),
    (r"country", _pick("DE", "US", "JP", "BR", "KE")),
    (r"currency", _pick("EUR", "USD", "JPY")),
    (r"address", _ip),
    (r"(?:retention|duration|ttl|timeout)$", _pick("300s", "3600s", "86400s")),
    (r"(?:city|place)\b", _pick("Lisbon", "Nairobi", "Osaka", "Toronto", "Vienna")),
    (r"colou?r", _pick("blue", "green", "orange", "red")),
    (r"(?:description|comment|reason|message|note|text|body|content|summary|subject)\b", lambda rng: rng.choice(_SENTENCES)),
    (r"(?:mime|content|media) type$", _pick("application/json", "text/csv", "image/png")),
    (r"instance (?:type|class|size)$", _pick("t3.medium", "m5.large", "c6i.xlarge")),
    (r"protocol$", _pick("tcp", "https", "udp")),
    (r"status|state$", _pick("active", "available", "ready")),
    (r"(?:type|mode|tier|kind|class|category|level)$", _pick("standard", "default", "basic")),
    (r"query|search|keyword|filter|term", lambda rng: f"{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}"),
    (r"path|folder|directory|prefix", lambda rng: f"{rng.choice(_NOUNS)}/{rng.choice(_NOUNS)}"),
    (r"file", lambda rng: f"{rng.choice(_NOUNS)}.csv"),
    (r"token|cursor|hash|checksum|etag|handle|fingerprint", lambda rng: _hex(rng, 16)),
    (
        r"(?:size|count|bytes|total|quota|seconds|capacity|revision|port|gb|weight|priority|iops)$",
        lambda rng: f"{rng.randint(1, 500)}",
    ),
    (r"user\b|owner|author|member|person|assignee", lambda rng: rng.choice(_PEOPLE)),
]
_NUMBERS: list[tuple[str, tuple[int, int]]] = [
    (r"port", (1024, 9999)),
    (r"version|revision", (1, 9)),
    (r"year", (2015, 2026)),
    (r"month", (1, 12)),
    (r"days?$", (1, 30)),
    (r"percent", (1, 100)),
    (r"timeout|seconds|interval|ttl|duration", (10, 900)),
    (r"latitude|^lat$", (-60, 60)),
    (r"longitude|^lng$|^lon$", (-150, 150)),
    (r"price|amount|cost|budget|balance", (5, 500)),
    (r"max (?:\w+ )?results|page size|limit$|max items|max keys|max records", (5, 50)),
    (r"status code$", (200, 200)),
]
_PATH = re.compile(r"\b[a-z]\w+(?:/(?:[\w-]+|\{[^{}/]+\}|\[[^\[\]/]+\]|<[^<>/]+>|\*))+")
_NO_CHOICE = ("UNSPECIFIED", "UNKNOWN", "UNDEFINED", "UNRECOGNIZED")
"""Ends of enumerated values that stand for no choice."""

_PLACE = re.compile(r"\{[^{}/]+\}|\[[^\[\]/]+\]|<[^<>/]+>|\*")


def draw(schema: dict[str, Any], name: str, rng: Random, depth: int = 3, service: str = "service") -> Any:
    """Return a value that is valid against ``schema``; ``name`` is the parameter's, in words.

    ``service`` is the one that an ARN names. Of an object, the required members are drawn and now and then an optional one.
    Raises UnfillableError when the rules cannot satisfy the schema, for example a pattern.
    """
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "string")
    if "enum" in schema:
        fitting = [value for value in schema["enum"] if is_of_type(value, kind)]
        fitting = [value for value in fitting if not str(value).upper().endswith(_NO_CHOICE)] or fitting
        if not fitting:
            raise UnfillableError(f"{name}: no enumerated value is of type {kind}")
        return rng.choice(fitting)
    if kind == "boolean":
        return rng.random() < 0.7
    if kind in ("integer", "number"):
        return _number(schema, name, rng, kind == "integer")
    if kind == "string":
        return _string(schema, name, rng, service)
    if depth == 0 or kind not in ("array", "object"):
        raise UnfillableError(f"{name}: type {kind!r} at this depth")
    return (_array if kind == "array" else _object)(schema, name, rng, depth, service)


def draw_members(
    schema: dict[str, Any], chosen: list[str], rng: Random, depth: int = 3, service: str = "service"
) -> dict[str, Any]:
    """Return values for chosen members of an object schema. Raises UnfillableError as ``draw`` does."""
    members = schema.get("properties", {})
    return {name: draw(members[name], words(name), rng, depth, service) for name in chosen}


def is_of_type(value: Any, kind: str) -> bool:
    """Return whether a value is of a type of JSON Schema."""
    types = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
    return isinstance(value, types.get(kind, object)) and (kind == "boolean" or not isinstance(value, bool))


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether a value is valid against a schema, as far as types and enumerations go."""
    kind = schema.get("type", "string")
    if isinstance(value, dict):
        members = schema.get("properties", {})
        return kind == "object" and all(name in members and fits(inner, members[name]) for name, inner in value.items())
    if isinstance(value, list):
        return kind == "array" and all(fits(item, schema.get("items") or {}) for item in value)
    return kind not in ("array", "object") and is_of_type(value, kind) and value in schema.get("enum", [value])


def _string(schema: dict[str, Any], name: str, rng: Random, service: str) -> str:
    for _ in range(8):
        value = _text(schema, name, rng, service)
        if len(value) < schema.get("minLength", 0):
            value = value.ljust(schema["minLength"], "0")
        value = value[: schema.get("maxLength", len(value))]
        if "pattern" not in schema or re.search(schema["pattern"], value):
            return value
    raise UnfillableError(f"{name}: no value drawn for pattern {schema['pattern']}")


def _text(schema: dict[str, Any], name: str, rng: Random, service: str) -> str:
    if rule := _FORMATS.get(schema.get("format", "")):
        return rule(rng)
    if path := _described_path(schema.get("description", "")):
        return _PLACE.sub(lambda place: _segment(place.group(), rng), path)
    if named := re.search(r"(?:(\w+) )?arns?$", name):
        place = f"{rng.choice(_REGIONS)}:{rng.randint(10**11, 10**12 - 1)}"
        return f"arn:aws:{service}:{place}:{_noun(named.group(1), rng)}/{_slug(rng)}"
    if re.search(r"(?:account|owner|subscription) ?ids?$|bucket owner$", name):
        return str(rng.randint(10**11, 10**12 - 1))
    if named := re.search(r"(?:(\w+) )?(?:ids?|identifiers?|uuids?|guids?)$", name):
        return f"{_noun(named.group(1), rng)}-{_hex(rng, 8)}"
    return next((rule for pattern, rule in _BY_NAME if re.search(rf"\b(?:{pattern})", name)), _slug)(rng)


def _described_path(description: str) -> str | None:
    """Return the form of a resource name that a description gives: ``projects/{project}/topics/{topic}``."""
    return next((found for found in _PATH.findall(description[:600]) if _PLACE.search(found)), None)


def _segment(place: str, rng: Random) -> str:
    """Return what stands in a place of a resource name, such as ``{location}``."""
    if re.search("location|region", place, re.IGNORECASE):
        return rng.choice(_REGIONS)
    return _slug(rng)


def _noun(word: str | None, rng: Random) -> str:
    """Return the word before ``id`` when it says what is identified, else a drawn one."""
    return (
        word if word and len(word) > 2 and word.isalpha() and word not in ("the", "resource", "unique") else rng.choice(_NOUNS)
    )


def _number(schema: dict[str, Any], name: str, rng: Random, whole: bool) -> int | float:
    low, high = next((bounds for pattern, bounds in _NUMBERS if re.search(rf"\b(?:{pattern})", name)), (1, 100))
    low = max(low, schema.get("minimum", low), schema.get("exclusiveMinimum", low - 1) + 1)
    high = max(low, high)
    high = min(high, schema.get("maximum", high), schema.get("exclusiveMaximum", high + 1) - 1)
    if low > high:
        low = schema.get("minimum", high)
    step = schema.get("multipleOf", 1 if whole else 0.5)
    value = round(rng.uniform(low, high) / step) * step
    value = min(max(value, low), high)
    value = int(value) if whole else float(value)
    if value % step or value < schema.get("minimum", value) or value > schema.get("maximum", value):
        raise UnfillableError(f"{name}: no number between {low} and {high} in steps of {step}")
    return value


def _array(schema: dict[str, Any], name: str, rng: Random, depth: int, service: str) -> list[Any]:
    least = max(1, schema.get("minItems", 1))
    most = least if (schema.get("items") or {}).get("type") == "object" else schema.get("maxItems", 3)
    if least > 5 or schema.get("maxItems", 1) < 1:
        raise UnfillableError(f"{name}: wants {least} items")
    values: list[Any] = []
    for _ in range(8 * least):
        value = draw(schema.get("items") or {"type": "string"}, name.removesuffix("s"), rng, depth - 1, service)
        if value not in values:
            values.append(value)
        if len(values) >= least and (len(values) >= most or rng.random() < 0.5):
            return values
    if len(values) < least:
        raise UnfillableError(f"{name}: wants {least} different items")
    return values


def _object(schema: dict[str, Any], name: str, rng: Random, depth: int, service: str) -> dict[str, Any]:
    members = schema.get("properties", {})
    chosen = [member for member in schema.get("required", []) if member in members]
    optional = [member for member in members if member not in chosen and not PLUMBING.search(words(member))]
    if optional and (not chosen or rng.random() < 0.3):
        chosen.append(rng.choice(optional))
    values = draw_members(schema, chosen, rng, depth - 1, service)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict) and not members:
        values[rng.choice(("environment", "owner", "project", "stage"))] = draw(extra, "value", rng, depth - 1, service)
    if not values:
        raise UnfillableError(f"{name}: an object of unknown members")
    return values
