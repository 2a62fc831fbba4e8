"""Trajectories about everyday functions: natural questions that carry the values, and the calls that take them over.

The kinds are those of `synthetic_calls` without results: one call, a choice among tools, several calls, no tool that fits, a
value that is missing. Several calls come in the forms in which people ask for them: several values at one place, values in
step ("respectively"), one question after another, "the same with ...", and different functions in one request. A
conversation holds several requests, each of a kind of its own: schemas are most of the tokens, and are read once.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from hephaestus_dag.sources.phrasing import enumeration
from hephaestus_dag.sources.synthesis.everyday.catalogue import Function, Tool, labels_said, load_functions, say
from hephaestus_dag.sources.synthesis.everyday.draw import Draw, DrawAtHand
from hephaestus_dag.sources.synthesis.everyday.values import Kind, Value
from hephaestus_dag.trajectories import Call, Message, Trajectory

EVERYDAY_SHARES: dict[str, float] = {
    "single": 0.2,
    "choose": 0.16,
    "parallel": 0.2,
    "mixed": 0.18,
    "refusal": 0.18,
    "missing": 0.08,
}
"""Share of each kind; ``mixed`` asks for calls of different functions."""

SOURCE = "everyday_calls"
_VARYING = frozenset(
    """
    animal artist book chord city company country currency date dish enum float formula game_item id int language medicine
    money month movie path person pet plant product rate room song subject team ticker tool topic url word year
    """.split()  # noqa: SIM905
)
"""Kinds of which one request may name several values."""

_CHAT = (
    "What do you think about {topic}?",
    "Tell me a joke about a {animal}.",
    "Can you explain {subject} in simple words?",
    "Write a short poem about {city}.",
    "Who is the most famous person from {country}?",
    "I feel tired today. Any advice?",
    "What is the meaning of the word {word}?",
    "How do I say thank you politely in {language}?",
)


def synthesise_everyday(count: int, seed: int, held_out: bool = False, conversations: float = 0.0) -> Iterator[Trajectory]:
    """Yield ``count`` trajectories; number ``i`` depends on the other arguments, ``i`` and the catalogue only.

    ``held_out`` draws topics and values that training never shows: those of the development split. A share of
    ``conversations`` holds several requests.
    """
    functions = load_functions(held_out)
    for number in range(count):
        rng = Random(f"everyday:{held_out}:{seed}:{number}")
        kind = rng.choices(list(EVERYDAY_SHARES), list(EVERYDAY_SHARES.values()))[0]
        if rng.random() < conversations:
            kind = "conversation"
        yield make_everyday(kind, functions, rng, held_out, f"seed {seed}, number {number}")


def make_everyday(kind: str, functions: Sequence[Function], rng: Random, held_out: bool, origin: str) -> Trajectory:
    """Return one trajectory of a kind."""
    messages, tools = KINDS[kind](Draw(functions, rng, held_out))
    schemas = list({tool.schema["name"]: tool.schema for tool in tools}.values())
    rng.shuffle(schemas)
    return Trajectory(
        messages=messages,
        tools=tuple(schemas),
        source=SOURCE,
        origin=f"{origin}, {kind}: {', '.join(schema['name'] for schema in schemas)}",
        license="Apache-2.0",
        synthetic=True,
    )


_Made = tuple[tuple[Message, ...], list[Tool]]


def _calls(*calls: tuple[Tool, Mapping[str, Value]]) -> Message:
    made = tuple(Call(name=tool.schema["name"], arguments=tool.arguments(values)) for tool, values in calls)
    return Message(role="assistant", calls=made)


def _single(draw: Draw) -> _Made:
    tool = draw.tool()
    text, values = draw.request(tool)
    return (draw.asked(text), _calls((tool, values))), [tool]


def _choose(draw: Draw) -> _Made:
    tool = draw.tool()
    text, values = draw.request(tool)
    return (draw.asked(text), _calls((tool, values))), [tool, *draw.others(tool.function, draw.rng.randint(1, 3))]


def _parallel(draw: Draw) -> _Made:
    """Ask for several calls of one function."""
    tool = draw.tool()
    function, rng = tool.function, draw.rng
    question = draw.question(function)
    values = draw.values(function, question)
    varying = [name for name in values if function.kinds[name].name in _VARYING]
    form = rng.random()
    if varying and form < 0.55:
        text, sets = _several_values(draw, function, question, values, varying)
    elif varying and form < 0.75:
        text, sets = _the_same_with(draw, function, question, values, varying)
    else:
        text, sets = _one_after_another(draw, function, question, values)
    if any(_same_call(a, b) for n, a in enumerate(sets) for b in sets[:n]):
        return _parallel(draw)
    beside = draw.others(function, 1) if rng.random() < 0.2 else []
    return (draw.asked(text), _calls(*((tool, each) for each in sets))), [tool, *beside]


_Several = tuple[str, list[dict[str, Value]]]


def _several_values(
    draw: Draw, function: Function, question: str, values: dict[str, Value], varying: Sequence[str]
) -> _Several:
    """Name two to four values where one stands; of two places in step."""
    in_step = draw.rng.sample(varying, 2 if len(varying) > 1 and draw.rng.random() < 0.35 else 1)
    count = draw.rng.choice((2, 2, 3, 3, 4))
    sets = [{**values, **{name: draw.value(function, name) for name in in_step}} for _ in range(count)]
    together = {name: Value(None, enumeration([each[name].said for each in sets])) for name in in_step}
    text = say(question, {**values, **together})
    if len(in_step) > 1:
        text = f"{text[:-1]}, respectively{text[-1]}" if text[-1] in ".?!" else f"{text} (respectively)"
    return text, sets


def _the_same_with(draw: Draw, function: Function, question: str, values: dict[str, Value], varying: Sequence[str]) -> _Several:
    """Ask once, then for the same with another value."""
    sets, said = [values], [say(question, values)]
    for _ in range(draw.rng.choice((1, 1, 2))):
        other = draw.rng.sample(varying, min(len(varying), draw.rng.choice((1, 2))))
        changed = {name: draw.value(function, name) for name in other}
        form = draw.rng.choice(("Then do the same with {}.", "And the same for {}.", "Repeat it with {}."))
        said.append(form.format(enumeration(list(labels_said(changed)))))
        sets.append({**values, **changed})
    return " ".join(said), sets


def _one_after_another(draw: Draw, function: Function, question: str, values: dict[str, Value]) -> _Several:
    """Ask again in full."""
    sets, said = [values], [say(question, values)]
    for _ in range(draw.rng.choice((1, 1, 2))):
        other = draw.question(function)
        sets.append(draw.values(function, other))
        said.append(say(other, sets[-1]))
    return _joined(said, draw.rng), sets


def _joined(said: Sequence[str], rng: Random) -> str:
    first, *rest = said
    form = rng.random()
    if form < 0.2:
        return " ".join(f"{n}. {text}" for n, text in enumerate(said, start=1))
    links = ("", "Also: ", "And: ", "Next: ", "One more thing: ", "After that: ") if form < 0.6 else ("",)
    return " ".join([first, *(rng.choice(links) + text for text in rest)])


def _same_call(a: Mapping[str, Value], b: Mapping[str, Value]) -> bool:
    return {name: value.value for name, value in a.items()} == {name: value.value for name, value in b.items()}


def _mixed(draw: Draw) -> _Made:
    """Ask for calls of two or three functions, now and then twice of one."""
    tool = draw.tool()
    tools = [tool, *draw.others(tool.function, draw.rng.choice((1, 1, 2)))]
    if len({each.schema["name"] for each in tools}) < len(tools):
        return _mixed(draw)
    wanted = [*tools, *([draw.rng.choice(tools)] if draw.rng.random() < 0.3 else [])]
    draw.rng.shuffle(wanted)
    asked = [(each, *draw.request(each)) for each in wanted]
    if any(a[0] is b[0] and _same_call(a[2], b[2]) for n, a in enumerate(asked) for b in asked[:n]):
        return _mixed(draw)
    beside = draw.others(tool.function, 1) if draw.rng.random() < 0.3 else []
    text = _joined([text for _, text, _ in asked], draw.rng)
    return (draw.asked(text), _calls(*((each, values) for each, _, values in asked))), [*tools, *beside]


def _refusal(draw: Draw) -> _Made:
    """Ask for what none of the tools can do."""
    rng = draw.rng
    tool, others = draw.unfit()
    can = others[0].function.does
    wish = tool.function.does[0].lower() + tool.function.does[1:]
    if rng.random() < 0.15:
        names = ("topic", "animal", "subject", "city", "country", "word", "language")
        words = {name: Kind(name, ()).draw(rng, draw.held_out).said for name in names}
        text, wish = rng.choice(_CHAT).format(**words), "answer this"
    else:
        text, _ = draw.request(tool)
    said = rng.choice(
        (
            f"None of the functions can be used to {wish}.",
            f"None of the given functions can {wish}.",
            f"I cannot {wish} with the functions at hand.",
            f"The functions do not fit: they can {can[0].lower()}{can[1:]}, but not {wish}.",
            f"There is no function to {wish}, so I make no call.",
        )
    )
    return (draw.asked(text), Message(role="assistant", content=said)), others


def _missing(draw: Draw) -> _Made:
    """Leave out a value that the call needs; half of the time it is given when the assistant asks for it."""
    tool, rng = draw.tool(), draw.rng
    question = draw.question(tool.function)
    values = draw.values(tool.function, question)
    askable = [name for name in tool.function.required if tool.function.kinds[name].name != "flag"]
    if len(values) < 2 or not askable:
        return _missing(draw)
    absent = rng.choice(askable)
    label = absent.replace("_", " ")
    said = rng.choice(
        (
            f"The required parameter {tool.shown[absent]} is missing. Which {label} should I use?",
            f"The question does not say the {label}. Which one should I use?",
            f"Please tell me the {label}; {tool.schema['name']} cannot be called without it.",
        )
    )
    given = {name: value for name, value in values.items() if name != absent}
    turns = [draw.asked(say(question, given)), Message(role="assistant", content=said)]
    if rng.random() < 0.5:
        answer = rng.choice(("{}", "It is {}.", "Use {}.", "{}, please.")).format(values[absent].said)
        turns += [Message(role="user", content=answer[0].upper() + answer[1:]), _calls((tool, values))]
    return tuple(turns), [tool]


def _conversation(draw: Draw) -> _Made:
    """Ask several times with the same tools at hand, one request answered before the next comes."""
    rng = draw.rng
    first = draw.tool()
    tools = [first, *draw.others(first.function, rng.choice((0, 0, 1, 1, 2)))]
    if len({tool.schema["name"] for tool in tools}) < len(tools):
        return _conversation(draw)
    at_hand = DrawAtHand(draw, tools)
    shares = {kind: share for kind, share in EVERYDAY_SHARES.items() if _possible(kind, tools)}
    kinds = rng.choices(list(shares), list(shares.values()), k=rng.choice((2, 3, 3, 4, 4, 5)))
    turns = [turn for kind in kinds for turn in KINDS[kind](at_hand)[0]]
    return tuple(turns), tools


def _possible(kind: str, tools: Sequence[Tool]) -> bool:
    """Whether a request of a kind can be made about the tools at hand."""
    if kind == "choose":
        return False  # `single` is, when there are several
    if kind == "mixed":
        return len(tools) > 1
    return kind != "missing" or any(_can_lack(tool.function) for tool in tools)


def _can_lack(function: Function) -> bool:
    return len(function.required) > 1 and any(function.kinds[name].name != "flag" for name in function.required)


KINDS: dict[str, Any] = {
    "single": _single,
    "choose": _choose,
    "parallel": _parallel,
    "mixed": _mixed,
    "refusal": _refusal,
    "missing": _missing,
    "conversation": _conversation,
}
