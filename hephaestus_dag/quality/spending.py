"""What the answers about a sample take, in tokens and money, against the ceilings of the configuration."""

from hephaestus_dag.language_model import Tokens
from hephaestus_dag.quality.config import AnnotationConfig, AnnotatorConfig


class Ledger:
    """Tokens by question: as counted for an answer that is there, as estimated for a question under way."""

    def __init__(self, config: AnnotationConfig) -> None:
        self.config = config
        self.total = Tokens()
        self._entries: dict[tuple[str, str], Tokens] = {}

    def enter(self, question: tuple[str, str], tokens: Tokens) -> None:
        """Note what a question takes, in place of what was noted before."""
        self.total = self.total - self._entries.get(question, Tokens()) + tokens
        self._entries[question] = tokens

    def refusal(self, tokens: Tokens) -> str:
        """Return why a question of so many tokens would pass a ceiling; empty when it would not."""
        after, config = self.total + tokens, self.config
        if config.max_total_tokens is not None and after.total > config.max_total_tokens:
            return (
                f"the next question would make it {after.total:,} tokens, and max_total_tokens is {config.max_total_tokens:,}"
            )
        cost = cost_of(after, config.annotator)
        if config.max_cost is not None and cost is not None and cost > config.max_cost:
            return f"the next question would make it cost {cost:,.4f}, and max_cost is {config.max_cost:,.4f}"
        return ""


def cost_of(tokens: Tokens, annotator: AnnotatorConfig) -> float | None:
    """Return the money that tokens cost; None for an annotator without both prices."""
    if annotator.input_price is None or annotator.output_price is None:
        return None
    return (tokens.read * annotator.input_price + tokens.written * annotator.output_price) / 1e6


def in_words(tokens: Tokens, annotator: AnnotatorConfig) -> str:
    """Return tokens, and money where there are prices, as a message says them."""
    cost = cost_of(tokens, annotator)
    return f"{tokens.total:,} tokens" + ("" if cost is None else f" at a cost of {cost:,.4f}")
