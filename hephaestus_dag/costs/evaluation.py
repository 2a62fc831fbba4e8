"""Costs of the evaluation of every model: prompts that are read, and replies of at most the length that the recipe allows."""

from hephaestus_dag.costs.amount import NOTHING, Amount, about, at_most, unknown
from hephaestus_dag.costs.benchmarks import BFCL_ITEMS, num_answers
from hephaestus_dag.costs.book import Answers, Book, answers, unknown_shape
from hephaestus_dag.costs.jobs import backbone_architecture
from hephaestus_dag.evaluation.bfcl.config import MULTI_TURN
from hephaestus_dag.evaluation.huggingface_identity import number_format
from hephaestus_dag.recipe import Recipe
from hephaestus_dag.scored_models import scored_models
from hephaestus_dag.variants import Variants

PROMPT_TOKENS = 1_250
REPLY_TOKENS = 20
CONVERSATION_REPLIES = 8
CONVERSATION_TOKENS = 5_000
MMLU_ITEMS = 14_042
MMLU_TOKENS = 150
Counted = tuple[Amount, Amount, Amount]
"""Items, tokens that are read, tokens that are written."""
ASSUMPTIONS = [
    f"a question of BFCL: {PROMPT_TOKENS:,} tokens, its answer {REPLY_TOKENS}: means over all items, 4 characters a token",
    f"a conversation of BFCL: {CONVERSATION_REPLIES} replies (about 4 turns), to {CONVERSATION_TOKENS:,} tokens each",
    f"a question of MMLU: {MMLU_TOKENS} tokens, and as many for each example before it",
]


def evaluation_costs(book: Book, variants: Variants) -> None:
    """Enter the assets of the group evaluation."""
    name, model = backbone_architecture(book.recipe, book.vocabulary)
    counted = {
        "bfcl_scores": _bfcl(book.recipe),
        "agentbench_scores": _agentbench(book.recipe),
        "mmlu_scores": _mmlu(book.recipe),
        "general_scores": (unknown("the items are counted when they are read"),) * 3,
        "benchmark_loss": _loss(book.recipe),
    }
    dtype = number_format("cuda" if book.recipe.execution.launcher.num_gpus else "cpu", book.recipe.evaluation.dtype)
    for scored in scored_models(book.recipe, variants):
        for key in scored.scores:
            documents, read, written = counted[key.partition("/")[2]]
            tokens = read + written
            per_token = Amount(model.forward_flops(CONVERSATION_TOKENS)) if model else unknown_shape(name)
            book.add(
                key,
                "evaluation",
                documents=documents,
                tokens=tokens,
                inference=tokens * per_token if scored.model else NOTHING,
                dtype=dtype,
                disk=documents * 4_000,
                note="" if scored.model else "read and written by the server",
                answers=None if scored.model else _answers(book.recipe, scored.name, documents, read, written),
            )
        if scored.overlap:
            book.add(scored.overlap, "evaluation", disk=at_most(5e7), inference=NOTHING, note="on the CPU")
    book.add("benchmark_report", "evaluation", disk=at_most(5e6), inference=NOTHING, note="on the CPU")


def _answers(recipe: Recipe, name: str, documents: Amount, read: Amount, written: Amount) -> Answers:
    return answers(documents, read, written, recipe.evaluation.endpoints[name], f"evaluation.endpoints.{name}")


def _bfcl(recipe: Recipe) -> Counted:
    config = recipe.evaluation.bfcl
    asked = {name: min(config.items_in(name) or BFCL_ITEMS[name], BFCL_ITEMS[name]) for name in config.categories}
    held = sum(count for name, count in asked.items() if name in MULTI_TURN)
    single = sum(asked.values()) - held
    replies = held * CONVERSATION_REPLIES
    read = about(PROMPT_TOKENS) * single + about(CONVERSATION_TOKENS) * replies
    return Amount(float(single + held)), read, at_most(config.max_new_tokens) * (single + replies)


def _agentbench(recipe: Recipe) -> Counted:
    if recipe.evaluation.agentbench.data is None:
        return NOTHING, NOTHING, NOTHING
    missing = unknown("the items are counted when AgentBench's data are read")
    return missing, missing, missing


def _mmlu(recipe: Recipe) -> Counted:
    config = recipe.evaluation.mmlu
    if config.location is None:
        return NOTHING, NOTHING, NOTHING
    asked = min(config.num_items or MMLU_ITEMS, MMLU_ITEMS)
    questions = asked * len(config.num_shots)
    read = about(sum(asked * MMLU_TOKENS * (1 + n) for n in config.num_shots))
    return Amount(float(questions)), read, NOTHING


def _loss(recipe: Recipe) -> Counted:
    config = recipe.evaluation.benchmark_loss
    scored = num_answers(recipe, config.items_per_category)
    tokens = about(scored * (PROMPT_TOKENS + REPLY_TOKENS)) + at_most(3 * config.heldout_tokens)
    return about(float(scored)), tokens, NOTHING
