"""Costs of the token stores and of the mixtures of the stages."""

from hephaestus_dag.costs.amount import Amount, at_most
from hephaestus_dag.costs.book import Book
from hephaestus_dag.costs.sizes import LEDGER_BYTES, SEQUENCE_BYTES
from hephaestus_dag.mixture.config import Component
from hephaestus_dag.variants import Variants


def mixture_costs(book: Book, variants: Variants) -> None:
    """Enter the assets of the group mixture."""
    _token_stores(book, variants)
    _mixtures(book, variants)


def _token_stores(book: Book, variants: Variants) -> None:
    book.add("tokenizer", "mixture", disk=at_most(20e6), note="on the CPU")
    cap = book.recipe.mixture.token_store.max_tokens_per_domain
    for key, documents, domains in [
        ("tokenized_seed", "seed_corpus", 3),
        *((key, documents, 1) for key, documents in variants.webs.items()),
    ]:
        tokens = book.tokens(documents)
        tokens = tokens.capped(at_most(cap * domains)) if cap else tokens
        disk = tokens * book.token_bytes + book.documents(documents) * LEDGER_BYTES
        book.add(key, "mixture", documents=book.documents(documents), tokens=tokens, disk=disk, note="on the CPU")


def _mixtures(book: Book, variants: Variants) -> None:
    section = book.recipe.mixture
    length = section.sequence_length
    for key, store in variants.mixed.values():
        sequences = section.stage1_tokens // length
        ratio = section.agent_ratio if isinstance(section.agent_ratio, float) else book.recipe.scaling_law.fallback_agent_ratio
        components = section.stage1(ratio) if ratio else section.stage1_components or ()
        _planned(book, key, sequences, length, _shortage(book, sequences * length, components, store))
    for key in variants.seed.values():
        sequences = section.stage2_tokens // length
        shown = sequences * length * (1 - section.stage2_replay)
        _planned(book, key, sequences, length, _shortage(book, shown, section.stage2_components, None))
    instruction = section.instruction
    sequences = packed_sequences(book)
    stored = at_most(instruction.num_examples) * instruction.sequence_length
    book.add(
        "instruction_corpus",
        "mixture",
        documents=at_most(instruction.num_examples),
        tokens=sequences * instruction.sequence_length,
        disk=stored * (book.token_bytes + 1) + sequences * SEQUENCE_BYTES,
        note="short examples share a sequence: how many is known once they are packed",
    )


def packed_sequences(book: Book) -> Amount:
    """Return the sequences of Stage III, at most: one for each example, times the epochs."""
    section = book.recipe.mixture
    return at_most(float(round(section.instruction.num_examples * section.stage3_epochs)))


def _planned(book: Book, key: str, sequences: int, length: int, shortage: str) -> None:
    tokens = Amount(float(sequences * length))
    book.add(key, "mixture", tokens=tokens, disk=Amount(float(sequences * SEQUENCE_BYTES)), shortage=shortage)


def _tokenised(book: Book, keys: list[str]) -> float | None:
    """Return how many different tokens of one domain of these documents a token store holds, at most: its cap counts."""
    parts = [book.tokens(key).value for key in keys]
    cap = book.recipe.mixture.token_store.max_tokens_per_domain
    if None in parts:
        return float(cap) if cap else None
    held = sum(part or 0 for part in parts)
    return min(held, cap) if cap else held


def _shortage(book: Book, tokens: float, components: tuple[Component, ...], web: str | None) -> str:
    """Say which domains hold too few different tokens to be shown ``max_epochs`` times at most."""
    agent = ["tool_documentation", "function_calling_trajectories"]
    agent += [key for key in ("synthetic_documentation",) if key in book.costs]
    held = {"agent": [*agent, *([web] if web else [])], "code": ["code_documents"], "text": ["text_documents"]}
    found = []
    for component in components:
        keys = held.get(component.domain or "", [])
        stores = [[key for key in keys if key != web], [key for key in keys if key == web]]
        parts = [_tokenised(book, store) for store in stores if store]
        if not parts or None in parts:
            continue
        there, needed = sum(part or 0 for part in parts), component.share * tokens / book.recipe.mixture.max_epochs
        if there < needed:
            found.append(
                f"{component.name}: {needed / 1e6:,.1f}M different tokens are needed for max_epochs "
                f"{book.recipe.mixture.max_epochs:g}, about {there / 1e6:,.1f}M are there; add {component.name} documents, "
                "lower the share or the tokens, or raise max_epochs"
            )
    return "; ".join(found)
