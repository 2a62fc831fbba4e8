"""Mixture: tokens, and which of them a stage is shown (paper section 4.3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.artifact import ArtifactAsset, Build, CheckDeclaration, artifact
from assets.showing import figures_of, rounded
from hephaestus_dag.artifacts import Check, Report
from hephaestus_dag.mixture.config import Component, MixtureConfig
from hephaestus_dag.models import model_identity
from hephaestus_dag.recipe import Recipe

if TYPE_CHECKING:
    from hephaestus_dag.mixture.plan import Replay

GROUP = "mixture"
MIXTURE_FIELDS = ("mixture.sequence_length", "mixture.max_epochs", "mixture.seed")

BORDERS_CHECK = CheckDeclaration(
    name="documents_begin_and_end_as_the_backbone_wants",
    description="Every document ends with the end-of-text token, holds it nowhere else, and begins with the tokenizer's first "
    "token where that has one.",
)
BUDGET_CHECK = CheckDeclaration(
    name="mixture_meets_its_budget",
    description="Every domain and source is within one sequence of its share, and the total of the token budget.",
)
CONTAMINATION_CHECK = CheckDeclaration(
    name="no_benchmark_text_in_training_data",
    description="No document, decoded from its training tokens, holds the text of a benchmark item.",
)


def tokenizer_identity(recipe: Recipe) -> dict[str, Any]:
    """Return what a tokenizer that is taken from a model is."""
    model = recipe.mixture.tokenizer.model
    return {"tokenizer": model_identity(model)} if model else {}


@artifact(group=GROUP, kinds={"huggingface"}, inputs=["seed_corpus"], recipe=["mixture.tokenizer"], outside=tokenizer_identity)
def tokenizer(build: Build) -> Report:
    """The tokenizer of every model of the run: trained on the seed corpus, or the backbone's own.

    Mixtures, training and scores count in its tokens (paper, section 4.3).
    """
    from hephaestus_dag.mixture.tokenise import sample_texts
    from hephaestus_dag.mixture.tokenizer import copy_tokenizer, train_tokenizer
    from hephaestus_dag.models import resolve_model

    config = build.recipe.mixture.tokenizer
    if config.train:
        figures = train_tokenizer(sample_texts([build.input("seed_corpus")], config.train), config.train, build.folder)
    else:
        figures = copy_tokenizer(resolve_model(str(config.model), build.cache), build.folder)
    return Report(headline=f"{figures['vocab_size']:,} entries", figures=figures)


def seed_weights(recipe: Recipe) -> dict[str, Any]:
    """Return the weights of the seed corpus' sources."""
    return {"source_weights": recipe.source_weights(web=False)}


def source_weights(recipe: Recipe) -> dict[str, Any]:
    """Return the weights of all sources."""
    return {"source_weights": recipe.source_weights(web=True)}


def tokenise(build: Build, documents: str) -> Report:
    """Tokenise the documents of one input."""
    from hephaestus_dag.mixture.borders import check_borders
    from hephaestus_dag.mixture.tokenise import tokenise_documents

    config, tokenizer = build.recipe.mixture.token_store, build.input("tokenizer")
    figures = tokenise_documents(
        build.input(documents),
        tokenizer,
        build.folder,
        config,
        build.progress,
        work=build.work,
        map=build.pool.map,
        earlier=build.earlier(),
    )
    columns = ("tokens", "documents", "bytes", "domain", "split")
    streams = [{"stream": name, **{key: stream[key] for key in columns}} for name, stream in figures["streams"].items()]
    tokens = sum(stream["tokens"] for stream in streams)
    found = check_borders(build.folder, tokenizer)
    return Report(
        headline=f"{tokens:,} tokens of {figures['documents']:,} documents",
        rows=figures["documents"],
        figures={"tokens": tokens, **figures_of(figures), **figures["left_out"]},
        tables={"streams": streams},
        checks=[
            Check(
                name=BORDERS_CHECK.name,
                passed=found.sound,
                detail=f"of {found.documents:,} documents {found.begin_right:.1%} begin and {found.end_right:.1%} end as the "
                f"tokenizer wants, {found.ends_inside:,} end-of-text tokens stand inside of one",
            )
        ],
    )


@artifact(
    group=GROUP,
    kinds={"numpy"},
    inputs=["tokenizer", "seed_corpus"],
    recipe=["mixture.token_store"],
    checks=[BORDERS_CHECK],
)
def tokenized_seed(build: Build) -> Report:
    """The seed corpus as token streams, one per source, with a ledger that leads back to documents.

    Mixtures are indices over these streams (paper, section 4.3), so no token is stored twice. Streams called `heldout` are
    never trained on: held-out losses are measured on them.
    """
    return tokenise(build, "seed_corpus")


def tokenized_web(key: str, documents: str) -> ArtifactAsset:
    """Return the asset that tokenises retrieved web documents."""

    @artifact(
        key=key,
        group=GROUP,
        kinds={"numpy"},
        inputs=["tokenizer", documents],
        recipe=["mixture.token_store"],
        checks=[BORDERS_CHECK],
    )
    def tokenized(build: Build) -> Report:
        """Retrieved web documents as token streams, with a ledger that leads back to documents.

        They count towards the agent share of Stage I (paper, section 4.3).
        """
        return tokenise(build, documents)

    return tokenized


def plan(build: Build, config: MixtureConfig, stores: list[str], headline: str, replayed: "Replay | None" = None) -> Report:
    """Plan a mixture over token stores, and check its shares and its contents."""
    from hephaestus_dag.mixture.figure import mixture_figure
    from hephaestus_dag.mixture.plan import plan_mixture

    own = [build.input(store) for store in stores]
    planned = plan_mixture(config, own, build.folder, replayed)
    mixture_figure(build.folder, build.folder / "mixture.png")
    components = planned["components"]
    worst = max(abs(c["tokens"] - c["share"] * planned["tokens"]) for c in components.values())
    missing = config.tokens - planned["tokens"]
    shown = list(dict.fromkeys([*own, *(replayed.stores if replayed else ())]))
    return Report(
        headline=f"{planned['tokens']:,} tokens: {headline}",
        rows=planned["num_sequences"],
        figures={"tokens": planned["tokens"], **{f"{name} epochs": c["epochs"] for name, c in components.items()}},
        tables={
            "components": [{"component": name, **component} for name, component in components.items()],
            "sources": source_rows(planned),
            **({"sources too short for one sequence": planned["too_short"]} if planned["too_short"] else {}),
        },
        pictures={"shares and epochs": "mixture.png"},
        checks=[
            Check(
                name=BUDGET_CHECK.name,
                passed=worst <= config.sequence_length and 0 <= missing < config.sequence_length,
                detail=f"largest deviation {worst:.0f} tokens, {missing} tokens short of {config.tokens:,}; "
                f"one sequence is {config.sequence_length}",
            ),
            contamination_check(build, shown),
        ],
    )


def source_rows(planned: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a mixture shows of each source, from its mixture.json."""
    columns = ("source", "domain", "tokens", "unique_tokens", "epochs")
    return rounded([{name: source[name] for name in columns} for source in planned["sources"]])


def contamination_check(build: Build, stores: list[Path]) -> Check:
    """Look for benchmark items in what a stage is shown, decoded from its tokens."""
    from hephaestus_dag.curation.decontamination import BenchmarkIndex
    from hephaestus_dag.mixture.contents import decoded_documents
    from hephaestus_dag.mixture.store import TokenStore

    index = BenchmarkIndex.load(build.input("benchmark_items") / "index")
    streams = [stream for store in stores for stream in TokenStore(store).streams.values()]
    total = sum(stream.documents for stream in streams if stream.split == "train")
    seen, hits = 0, []
    for identities, texts in decoded_documents(stores, build.input("tokenizer")):
        found = zip(identities, index.hits(texts), strict=True)
        hits += [f"{identity} holds {hit.item_id}" for identity, hit in found if hit]
        seen += len(texts)
        build.progress(seen, total)
    return Check(
        name=CONTAMINATION_CHECK.name,
        passed=not hits,
        detail=f"{len(hits)} documents hold benchmark text{': ' + '; '.join(hits[:5]) if hits else ''}",
    )


def mixed_corpus(key: str, web: str | None, fitted: bool) -> ArtifactAsset:
    """Return the asset of a Stage I mixture: the seed corpus, with or without web documents."""
    stores = ["tokenized_seed", *([web] if web else [])]

    @artifact(
        key=key,
        group=GROUP,
        kinds={"numpy"},
        inputs=["tokenizer", *stores, "benchmark_items", *(["fitted_power_law"] if fitted else [])],
        recipe=[
            "mixture.agent_ratio",
            "mixture.code_share_of_rest",
            "mixture.stage1_components",
            "mixture.stage1_tokens",
            *MIXTURE_FIELDS,
            *(["scaling_law.fallback_agent_ratio"] if fitted else []),
        ],
        outside=source_weights if web else seed_weights,
        checks=[BUDGET_CHECK, CONTAMINATION_CHECK],
    )
    def mixed(build: Build) -> Report:
        """What Stage I is shown: agent, code and text tokens in their shares, sequence by sequence.

        The paper's mixture of section 4.3: the agent ratio is the recipe's or the one that the scaling law supports. An index
        over token streams, exact to one sequence at any moment of training.
        """
        from hephaestus_dag.scaling.decision import chosen_ratio

        section = build.recipe.mixture
        ratio, reason = section.agent_ratio, "set by the recipe"
        if isinstance(ratio, str):
            ratio, reason = chosen_ratio(build.input("fitted_power_law"), build.recipe.scaling_law.fallback_agent_ratio)
        components = section.stage1(ratio or 0.0)
        config = section.mixture(section.stage1_tokens, components, weights=build.recipe.source_weights(web=bool(web)))
        return plan(build, config, stores, f"{shares(components)} ({reason})")

    return mixed


def seed_mixture(key: str, corpus: str | None, replayed: list[str]) -> ArtifactAsset:
    """Return the asset of a Stage II mixture; it repeats some of the Stage I mixture `corpus` over `replayed`, if any."""

    @artifact(
        key=key,
        group=GROUP,
        kinds={"numpy"},
        inputs=dict.fromkeys(["tokenizer", "tokenized_seed", *([corpus, *replayed] if corpus else []), "benchmark_items"]),
        recipe=["mixture.stage2_tokens", "mixture.stage2_components", "mixture.stage2_replay", *MIXTURE_FIELDS],
        outside=seed_weights,
        checks=[BUDGET_CHECK, CONTAMINATION_CHECK],
    )
    def mixture(build: Build) -> Report:
        """What Stage II is shown: the high-quality seed corpus alone, and a part of Stage I again, against forgetting.

        An index over token streams (paper, section 5).
        """
        from hephaestus_dag.mixture.plan import Replay

        section = build.recipe.mixture
        share = section.stage2_replay
        weights = build.recipe.source_weights(web=False)
        config = section.mixture(section.stage2_tokens, section.stage2_components, weights=weights, replay_share=share)
        replay = Replay(build.input(corpus), [build.input(store) for store in replayed]) if corpus else None
        headline = shares(section.stage2_components) + (f", of it {share:.0%} Stage I again" if share else "")
        return plan(build, config, ["tokenized_seed"], headline, replay)

    return mixture


def shares(components: tuple[Component, ...]) -> str:
    """Return the shares of components in words."""
    return ", ".join(f"{component.share:.0%} {component.name}" for component in components)


@artifact(
    group=GROUP,
    kinds={"numpy"},
    inputs=["tokenizer", "seed_corpus", "function_calling_trajectories", "benchmark_items"],
    recipe=["mixture.instruction", "mixture.stage3_epochs", "mixture.seed"],
    checks=[CONTAMINATION_CHECK],
)
def instruction_corpus(build: Build) -> Report:
    """What Stage III is shown: conversations in the chat template, packed whole, with loss on the assistant's turns only.

    Instruction tuning (paper, section 5).
    """
    from hephaestus_dag.mixture.instructions import build_instructions, plan_instructions

    section = build.recipe.mixture
    store = build.folder / "store"
    figures = build_instructions(
        [build.input("function_calling_trajectories")],
        build.input("tokenizer"),
        store,
        section.instruction,
        [build.input("seed_corpus")],
        build.progress,
    )
    planned = plan_instructions(store, section.stage3_epochs, section.seed, build.folder / "mixture")
    return Report(
        headline=f"{figures['examples']:,} examples, {planned['tokens']:,} tokens to train on",
        rows=figures["examples"],
        figures={name: value for name, value in figures.items() if isinstance(value, (int, float, str))},
        tables={"set aside because": [{"reason": reason, "trajectories": n} for reason, n in figures["set_aside"].items()]},
        checks=[contamination_check(build, [store])],
    )
