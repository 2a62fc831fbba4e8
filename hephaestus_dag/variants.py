"""Which mixtures and checkpoints the variants of a recipe need, by the keys of their assets; what two share exists once."""

from dataclasses import dataclass

from hephaestus_dag.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A stage that is trained."""

    key: str
    stage: int
    start: str
    """Asset whose model it begins with."""
    mixture: str
    stores: tuple[str, ...]
    """Token stores that the mixture is planned over; none for the instruction data, which bring their own."""


class Variants:
    """The assets that the variants of a recipe add to the graph."""

    def __init__(self, recipe: Recipe) -> None:
        self.replays = recipe.mixture.stage2_replay > 0
        self.webs: dict[str, str] = {"tokenized_web": "filtered_web"}
        """Token store of web documents -> the asset that holds the documents."""
        self.mixed: dict[str, tuple[str, str | None]] = {}
        """What a variant takes of the web -> the Stage I mixture, and the token store beside the seed corpus'."""
        self.seed: dict[str, str] = {}
        """What a variant takes of the web -> the Stage II mixture; the key is empty where it shows nothing of Stage I again."""
        self.paths: dict[str, list[Checkpoint]] = {}
        """Variant -> the checkpoints from the backbone to its model, those that it shares included."""
        found: dict[tuple[str, str], Checkpoint] = {}
        for name, variant in recipe.variants.items():
            self.paths[name] = []
            model = "backbone"
            for stage in variant.stages:
                mixture = self._mixture(name, stage, variant.web)
                made = Checkpoint(
                    key=f"{name}/stage{stage}_checkpoint",
                    stage=stage,
                    start=model,
                    mixture=mixture,
                    stores=() if stage == 3 else self.stores(variant.web if stage == 1 or self.replays else ""),
                )
                checkpoint = found.setdefault((model, mixture), made)
                self.paths[name].append(checkpoint)
                model = checkpoint.key
        self.checkpoints = list(found.values())

    def stores(self, web: str) -> tuple[str, ...]:
        """Return the token stores of a mixture with this part of the web; an empty one means the seed corpus alone."""
        store = self.mixed[web][1] if web else None
        return ("tokenized_seed", store) if store else ("tokenized_seed",)

    def model(self, variant: str) -> str:
        """Return the asset that holds a variant's model."""
        return self.paths[variant][-1].key if self.paths[variant] else "backbone"

    def _mixture(self, name: str, stage: int, web: str) -> str:
        if stage == 3:
            return "instruction_corpus"
        if stage == 1:
            return self._stage1(name, web)
        if not self.replays:
            return self.seed.setdefault("", "seed_mixture")
        replayed = self._stage1(name, web)
        return self.seed.setdefault(web, "seed_mixture" if replayed == "mixed_corpus" else f"{name}/seed_mixture")

    def _stage1(self, name: str, web: str) -> str:
        if web not in self.mixed:
            store = {"filtered": "tokenized_web", "unfiltered": f"{name}/tokenized_web", "none": None}[web]
            self.mixed[web] = ("mixed_corpus" if web == "filtered" else f"{name}/mixed_corpus", store)
            if web == "unfiltered":
                self.webs[f"{name}/tokenized_web"] = "retrieved_web_shards"
        return self.mixed[web][0]
