"""Draws functions, declarations, values and words of a trajectory about everyday functions."""

from collections.abc import Sequence
from random import Random

from hephaestus_dag.sources.phrasing import enumeration
from hephaestus_dag.sources.synthesis.everyday.catalogue import Function, Tool, declare, labels_said, places, say, tidy
from hephaestus_dag.sources.synthesis.everyday.values import Value
from hephaestus_dag.trajectories import Message

_OPENINGS = ("", "", "", "", "", "Hi! ", "Hello! ", "Hey there. ", "Quick question: ", "I need some help. ", "Good morning. ")
_CLOSINGS = ("", "", "", "", "", "", " Thanks!", " Thank you.", " Please be quick.", " I need it for a report.")


class Draw:
    """Draws functions, declarations, values and words."""

    def __init__(self, functions: Sequence[Function], rng: Random, held_out: bool) -> None:
        self.functions, self.rng, self.held_out = functions, rng, held_out

    def function(self) -> Function:
        """Return any function."""
        return self.rng.choice(self.functions)

    def tool(self) -> Tool:
        """Return a declaration of any function."""
        return declare(self.function(), self.rng)

    def others(self, function: Function, count: int) -> list[Tool]:
        """Return declarations of other functions, the first ones of the same topic half of the time."""
        near = [other for other in self.functions if other.topic == function.topic and other.names != function.names]
        far = [other for other in self.functions if other.topic != function.topic]
        chosen = [self.rng.choice(near if near and self.rng.random() < 0.5 else far) for _ in range(count)]
        return [declare(other, self.rng) for other in dict.fromkeys(chosen)]

    def unfit(self) -> tuple[Tool, list[Tool]]:
        """Return a tool for a wish, and others that are at hand instead."""
        tool = self.tool()
        return tool, self.others(tool.function, self.rng.choice((1, 1, 1, 2, 3)))

    def question(self, function: Function) -> str:
        """Return a question of a function that can say all that it needs."""
        return self.rng.choice(function.asks_for(function.required))

    def values(self, function: Function, question: str, least: int = 1) -> dict[str, Value]:
        """Return values of what a function needs and of some of the rest that the question can say."""
        said = places(question)
        optional = [name for name in function.kinds if name in said and name not in function.required]
        chosen = {*function.required, *(name for name in optional if self.rng.random() < 0.6)}
        if len(chosen) < least and optional:
            chosen.add(self.rng.choice(optional))
        return {name: self.value(function, name) for name in function.kinds if name in chosen}

    def value(self, function: Function, name: str) -> Value:
        """Return a value of a parameter."""
        return function.kinds[name].draw(self.rng, self.held_out)

    def asked(self, text: str) -> Message:
        """Return a user's turn, with or without a greeting."""
        return Message(role="user", content=self.rng.choice(_OPENINGS) + text + self.rng.choice(_CLOSINGS))

    def request(self, tool: Tool) -> tuple[str, dict[str, Value]]:
        """Return a question with its values, or the function's purpose and its values one by one."""
        question = self.question(tool.function)
        values = self.values(tool.function, question)
        if self.rng.random() < 0.12 and values and not any(tool.function.kinds[name].name == "flag" for name in values):
            listed = enumeration(list(labels_said(values)))
            form = self.rng.choice(("{does} with {listed}.", "{does}: {listed}.", "Please {lower}, with {listed}."))
            does = tool.function.does
            return tidy(form.format(does=does, lower=does[0].lower() + does[1:], listed=listed)), values
        return say(question, values), values


class DrawAtHand(Draw):
    """Draws requests about tools that are settled, in the order of the conversation."""

    def __init__(self, draw: Draw, tools: Sequence[Tool]) -> None:
        super().__init__(draw.functions, draw.rng, draw.held_out)
        self.tools = tools

    def tool(self) -> Tool:
        """Return one of the tools."""
        return self.rng.choice(self.tools)

    def others(self, function: Function, count: int) -> list[Tool]:
        """Return other tools at hand, whatever their topic."""
        rest = [tool for tool in self.tools if tool.function.names != function.names]
        return self.rng.sample(rest, min(count, len(rest)))

    def unfit(self) -> tuple[Tool, list[Tool]]:
        """Return a tool that is not at hand, and those that are."""
        names = {tool.function.names for tool in self.tools}
        absent = self.rng.choice([function for function in self.functions if function.names not in names])
        return declare(absent, self.rng), list(self.tools)
