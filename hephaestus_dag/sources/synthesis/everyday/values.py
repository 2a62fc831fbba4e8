"""Values of everyday parameters: what a person says, and what the call holds.

Every kind draws from lists (``words.yaml``) or from a range. The last quarter of each list is kept for the development split,
so that a model that is scored on it never saw these values in training.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from hephaestus_dag.sources.phrasing import enumeration

_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MONTHS = "January February March April May June July August September October November December".split(" ")  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Value:
    """An argument, and how somebody says it."""

    value: Any
    said: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of parameter with its settings: ``int(1,9)``."""

    name: str
    settings: tuple[str, ...]

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a value."""
        if self.name == "list":
            return {"type": "array", "items": Kind(self.settings[0], ()).schema()}
        if self.name in _ITEMS:
            return {"type": "array", "items": {"type": _ITEMS[self.name]}}
        kind = {"type": _TYPES.get(self.name, "string")}
        return {**kind, "enum": list(self.settings)} if self.name == "enum" else kind

    def hints(self) -> tuple[str, ...]:
        """Return what a description may add about the form of a value; often nothing."""
        return _HINTS.get(self.name, ("", "", ""))

    def draw(self, rng: Random, held_out: bool) -> Value:
        """Return a value; ``held_out`` ones come from the part of each list that training never shows."""
        if self.name == "list":
            inner = Kind(self.settings[0], ())
            drawn = {(value := inner.draw(rng, held_out)).said: value for _ in range(rng.choice((2, 2, 3, 4)) + 1)}
            values = list(drawn.values())[: rng.choice((2, 3, 3, 4))]
            return Value([value.value for value in values], enumeration([value.said for value in values]))
        if self.name in _RULES:
            return _RULES[self.name](rng, held_out, self.settings)
        return _same(_pick(self.name, rng, held_out))


@cache
def _words() -> dict[str, tuple[str, ...]]:
    import yaml

    text = files("hephaestus_dag.sources.synthesis.everyday").joinpath("words.yaml").read_text(encoding="utf-8")
    return {name: tuple(map(str, words)) for name, words in yaml.safe_load(text).items()}


def _pick(name: str, rng: Random, held_out: bool) -> str:
    words = _words()[name]
    if len(words) < 9 or name in ("weekday", "month", "currency"):
        return rng.choice(words)
    border = len(words) * 3 // 4
    return rng.choice(words[border:] if held_out else words[:border])


def known_kind(name: str) -> bool:
    """Return whether a catalogue may name a kind."""
    return name in _RULES or name in _words() or name == "list"


def _same(value: Any) -> Value:
    return Value(value, str(value))


def _enum(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    value = rng.choice(settings)
    return Value(value, value.replace("_", " ") if rng.random() < 0.7 else value)


def _int(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    value = rng.randint(int(settings[0]), int(settings[1]))
    if value < len(_NUMBER_WORDS) and rng.random() < 0.3:
        return Value(value, _NUMBER_WORDS[value])
    return Value(value, f"{value:,}" if value >= 1_000 and rng.random() < 0.4 else str(value))


def _float(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    low, high, *digits = map(float, settings)
    return _same(round(rng.uniform(low, high), int(digits[0]) if digits else 1))


def _money(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    low, high = map(int, settings)
    value = rng.randint(low, high)
    if value > 200 and rng.random() < 0.7:
        value = round(value, -1 if value < 2_000 else -2)
    if value < 500 and rng.random() < 0.3:
        cents = value + rng.choice((0.5, 0.99, 0.25))
        return Value(cents, f"{cents:.2f}")
    return Value(value, f"{value:,}" if value >= 1_000 and rng.random() < 0.5 else str(value))


def _rate(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    percent = rng.choice((rng.randint(1, 30), rng.randint(2, 40) / 2, rng.randint(10, 120) / 10))
    value = round(percent / 100, 4)
    return Value(value, f"{percent:g}%" if rng.random() < 0.7 else f"{percent:g} percent")


def _percent(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(rng.choice((5, 10, 12, 15, 18, 20, 25, 30, 40, 60)))


def _ints(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    values = [rng.randint(1, 99) for _ in range(rng.randint(int(settings[0]), int(settings[1])))]
    return _listed(values, rng)


def _floats(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    values = [round(rng.uniform(1, 5), 1) for _ in range(rng.randint(int(settings[0]), int(settings[1])))]
    return _listed(values, rng)


def _listed(values: list[Any], rng: Random) -> Value:
    written = [str(value) for value in values]
    return Value(values, rng.choice((enumeration(written), str(values), ", ".join(written))))


def _date(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    day = date(2024, 1, 1) + timedelta(rng.randrange(1_200))
    written = day.isoformat()
    if rng.random() < 0.65:
        return Value(written, written)
    month = _MONTHS[day.month - 1]
    return Value(written, rng.choice((f"{month} {day.day}, {day.year}", f"{day.day} {month} {day.year}")))


def _time(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    hour, minute = rng.randint(6, 22), rng.choice((0, 0, 15, 30, 30, 45))
    written = f"{hour:02}:{minute:02}"
    if rng.random() < 0.7:
        return Value(written, written)
    half = "am" if hour < 12 else "pm"
    return Value(written, f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {half}")


def _year(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(rng.randint(1985, 2025))


def _past_year(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(rng.randint(1100, 1980))


def _person(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(f"{_pick('first', rng, held_out)} {_pick('last', rng, held_out)}")


def _email(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    first, last, place = (_pick(name, rng, held_out).lower() for name in ("first", "last", "domain"))
    return _same(rng.choice((f"{first}.{last}@{place}", f"{first}@{place}", f"{first[0]}{last}@{place}")))


def _username(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    first, thing = _pick("first", rng, held_out).lower(), _pick("animal", rng, held_out)
    return _same(rng.choice((f"{first}{rng.randint(1, 99)}", f"{thing}_{first}", f"{first}-{rng.randint(100, 999)}")))


def _phone(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(rng.choice((f"+1-555-{rng.randint(0, 9999):04}", f"+44 20 {rng.randint(10**6, 10**7 - 1)}")))


def _id(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    number = rng.randint(100, 99_999)
    prefix = settings[0]
    return _same(rng.choice((f"{prefix}-{number}", f"{prefix}{number}", str(number), f"{prefix.lower()}_{number}")))


def _title(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    words = _pick("problem", rng, held_out) if rng.random() < 0.2 else ""
    title = words or f"{_pick('adjective', rng, held_out)} {_pick('occasion', rng, held_out)}"
    title = rng.choice((title, title.capitalize(), title.title()))
    return Value(title, rng.choice((f"'{title}'", f'"{title}"')))


def _message(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    text = _pick("message", rng, held_out)
    text = text[0].upper() + text[1:]
    text += f", {_pick('first', rng, held_out)}" if rng.random() < 0.3 else ""
    text += rng.choice(("", "", ".", "!"))
    return Value(text, rng.choice((f"'{text}'", f'"{text}"')))


def _street(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    address = f"{rng.randint(1, 240)} {_pick('street_name', rng, held_out)}"
    return _same(address + (f", {_pick('city', rng, held_out)}" if rng.random() < 0.4 else ""))


def _filename(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    ending = rng.choice(("pdf", "txt", "png", "csv", "jpg", "md"))
    return _same(f"{_pick('stem', rng, held_out)}{rng.choice(('', '_v2', '-2024', '_final'))}.{ending}")


def _path(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    place = f"{_pick('folder', rng, held_out)}/{_filename(rng, held_out, ()).value}"
    return _same(rng.choice(("", "/home/", "/data/")) + place)


def _pattern(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(rng.choice((f"*.{rng.choice(('pdf', 'py', 'log', 'csv'))}", f"{_pick('stem', rng, held_out)}*")))


def _url(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(f"https://{_pick('domain', rng, held_out)}/{_pick('folder', rng, held_out)}")


def _postcode(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(str(rng.randint(10_000, 98_999)))


def _letter(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    return _same(rng.choice("ABCDE"))


def _point(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    values = [rng.randint(-20, 40), rng.randint(-20, 40)]
    return Value(values, rng.choice(("({}, {})", "[{}, {}]", "x = {}, y = {}")).format(*values))


def _record(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    members = {
        "name": _person(rng, held_out, ()).value,
        "city": _pick("city", rng, held_out),
        "quantity": rng.randint(1, 60),
        "status": rng.choice(("open", "paid", "new")),
    }
    chosen = {name: members[name] for name in rng.sample(list(members), rng.randint(2, 3))}
    return Value(chosen, enumeration([f"{name} {value}" for name, value in chosen.items()]))


def _flag(rng: Random, held_out: bool, settings: tuple[str, ...]) -> Value:
    value = rng.random() < 0.65
    return Value(value, "yes" if value else "no")


_RULES: dict[str, Callable[[Random, bool, tuple[str, ...]], Value]] = {
    "date": _date,
    "email": _email,
    "enum": _enum,
    "filename": _filename,
    "flag": _flag,
    "float": _float,
    "floats": _floats,
    "id": _id,
    "int": _int,
    "ints": _ints,
    "letter": _letter,
    "message": _message,
    "money": _money,
    "past_year": _past_year,
    "path": _path,
    "pattern": _pattern,
    "percent": _percent,
    "person": _person,
    "phone": _phone,
    "point": _point,
    "postcode": _postcode,
    "rate": _rate,
    "record": _record,
    "street": _street,
    "time": _time,
    "title": _title,
    "url": _url,
    "username": _username,
    "year": _year,
}
_TYPES = {
    "flag": "boolean",
    "record": "object",
    "int": "integer",
    "year": "integer",
    "past_year": "integer",
    "percent": "integer",
}
_TYPES |= {"float": "number", "money": "number", "rate": "number"}
_ITEMS = {"ints": "integer", "floats": "number", "point": "integer"}
_HINTS: dict[str, tuple[str, ...]] = {
    "date": ("in the format YYYY-MM-DD", "as YYYY-MM-DD", "(ISO 8601 date)"),
    "time": ("in the format HH:MM", "as HH:MM, 24 hours", "(24-hour clock)"),
    "rate": ("as a decimal", "as a decimal, for example 0.05 for 5%", "(a fraction of 1)"),
    "percent": ("in percent", "as a whole percentage", ""),
    "point": ("as [x, y]", "(x and y)", "as a list of two numbers"),
    "currency": ("as a three-letter code", "(ISO code, e.g. EUR)", ""),
    "record": ("as names and values", "", ""),
}


def parse_kind(text: str) -> Kind:
    """Read ``int(1,9)``. Raises ValueError for a kind that there is not."""
    found = re.fullmatch(r"(\w+)(?:\((.*)\))?", text)
    if not found or not known_kind(found[1]) or (found[1] == "list" and not known_kind(found[2] or "")):
        raise ValueError(f"no kind of value is called {text!r}; take one of values.py or words.yaml")
    return Kind(found[1], tuple(part.strip() for part in found[2].split(",")) if found[2] else ())
