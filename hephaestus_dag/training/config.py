"""Configuration of a training job: the model's shape, the optimisation, and the placement."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hephaestus_dag.config import Config
from hephaestus_dag.training.cluster_config import KubernetesConfig, RayJobConfig, SlurmConfig

Kind = Literal["local", "hosts", "slurm", "ray", "kubernetes"]
SCHEDULED: tuple[Kind, ...] = ("slurm", "ray", "kubernetes")
"""Kinds whose scheduler reserves what a job runs on, and so has to be told how much."""
Schedule = Literal["wsd", "cosine", "constant"]


class ModelShape(Config):
    """The shape of a LLaMA model without biases; the vocabulary comes from the tokenizer."""

    hidden_size: int = Field(..., gt=0, description="Width of the residual stream")
    layers: int = Field(..., gt=0, description="Number of transformer blocks")
    heads: int = Field(..., gt=0, description="Number of attention heads")
    kv_heads: int = Field(..., gt=0, description="Number of key-value heads, a divisor of heads")
    intermediate_size: int = Field(..., gt=0, description="Width of the feed-forward layer")
    max_position_embeddings: int = Field(..., gt=0, description="Longest sequence in tokens")
    tie_embeddings: bool = Field(True, description="Whether the output head shares the input embedding's weights")
    rope_theta: float = Field(10_000.0, gt=0, description="Base period of the rotary position embedding")

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise ValueError(f"hidden_size {self.hidden_size} must be an even multiple of heads {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} must be a multiple of kv_heads {self.kv_heads}")
        return self


class GuardConfig(Config):
    """Which steps are passed over, and when training goes back to its last checkpoint."""

    sigmas: float | None = Field(
        default=6.0,
        gt=0,
        description="A step is skipped whose loss exceeds the recent mean by so many deviations; null: never for that",
    )
    window: int = Field(
        default=128, ge=8, description="Recent steps that mean and deviation are taken over; judged from half of them on"
    )
    skips_before_rewind: int = Field(
        default=3, ge=1, description="Skipped steps in a row after which the last checkpoint is taken up"
    )
    max_rewinds: int = Field(default=2, ge=0, description="Times that a job goes back to a checkpoint before it fails")


class TrainingConfig(Config):
    """Optimisation of one training job. Without ``steps`` their number follows from the mixture: sequences / global batch."""

    global_batch_sequences: int = Field(..., ge=1, description="Sequences per optimiser step, over all processes")
    micro_batch_sequences: int = Field(..., ge=1, description="Sequences per forward pass of one process, at most")
    steps: int | None = Field(None, ge=1, description="Steps after which the job ends; null: all that the mixture gives")
    learning_rate: float = Field(..., gt=0, description="Peak learning rate of AdamW")
    schedule: Schedule = Field("wsd", description="Course of the learning rate after the warm-up")
    warmup_share: float = Field(0.01, ge=0, lt=1, description="Share of the steps over which the rate rises linearly")
    warmup_steps: int | None = Field(None, ge=0, description="Steps of the warm-up, whatever the length; null: warmup_share")
    decay_share: float = Field(0.2, ge=0, le=1, description="Share of the steps over which WSD falls linearly at the end")
    min_lr_share: float = Field(0.1, ge=0, le=1, description="Where the rate ends, as a share of its peak")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay, on matrices only")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's decay rates of the two moments")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient; longer ones are scaled down")
    seed: int = Field(0, ge=0, description="Seed of fresh weights; the order of the data belongs to the mixture")
    z_loss: float = Field(0.0, ge=0, description="Weight of the squared log of the softmax's divisor in the loss; 0: none")
    document_masking: bool = Field(
        False, description="Whether attention and positions stop at the borders of documents inside a sequence"
    )
    guard: GuardConfig = Field(GuardConfig(), description="What happens to steps whose loss is not finite, or far too high")
    zero_stage: Literal[0, 1, 2, 3] = Field(0, description="ZeRO stage: divides nothing, optimiser, gradients, weights")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Number format of the matrix products; bfloat16 keeps float32 weights at ZeRO stage 0 and float32 master "
        "weights in the optimiser at stages 1 to 3",
    )
    compile: bool = Field(False, description="Whether torch.compile compiles the model; pays for long jobs only")
    offload_optimizer: bool = Field(
        False, description="Whether optimiser states stay in the memory of the CPU; needs ZeRO stage 1, 2 or 3"
    )
    gradient_checkpointing: bool = Field(False, description="Whether activations are recomputed to save memory")
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints that an interrupted job resumes from")
    checkpoint_at: tuple[int, ...] = Field(
        (), description="Steps with a checkpoint that stays, for longer jobs that begin in the same way to start from"
    )
    evaluate_every: int = Field(0, ge=0, description="Steps between evaluations; 0: only before the first, after the last")
    evaluate_tokens: int = Field(65_536, ge=1, description="Held-out tokens per domain and evaluation, at most")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.warmup_share + (self.decay_share if self.schedule == "wsd" else 0) > 1:
            raise ValueError("warmup_share and decay_share add up to more than 1; lower one of them")
        if self.offload_optimizer and not self.zero_stage:
            raise ValueError("offload_optimizer needs ZeRO; set zero_stage to 1, 2 or 3")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} must lie in [0, 1)")
        return self

    def num_steps(self, sequences: int) -> int:
        """Return the number of steps over a mixture of so many sequences. Raises ValueError when it has too few."""
        available = sequences // self.global_batch_sequences
        if not available:
            raise ValueError(
                f"mixture: {sequences} sequences are less than one global batch of {self.global_batch_sequences}; "
                "raise its tokens or lower global_batch_sequences"
            )
        if self.steps and self.steps > available:
            raise ValueError(
                f"steps {self.steps}: the mixture's {sequences} sequences last for {available}; lower steps or raise its tokens"
            )
        return self.steps or available

    def micro_batches(self, world_size: int) -> tuple[int, int]:
        """Return (sequences per forward pass, forward passes per step) of each of ``world_size`` processes.

        Raises ValueError when the global batch cannot be divided evenly.
        """
        per_rank, rest = divmod(self.global_batch_sequences, world_size)
        micro = min(self.micro_batch_sequences, per_rank)
        if rest or per_rank % micro:
            unit = world_size * self.micro_batch_sequences
            raise ValueError(
                f"global_batch_sequences {self.global_batch_sequences} cannot be divided evenly among {world_size} processes "
                f"in micro-batches of {self.micro_batch_sequences}; make it a multiple of {unit}"
            )
        return micro, per_rank // micro


class Placement(Config):
    """How many processes share a training job, and on how many machines; never part of an artifact's identity."""

    num_processes: int = Field(1, ge=1, description="Processes that share a job by data parallelism, over all machines")
    num_gpus: int = Field(0, ge=0, description="GPUs of the job: 0 trains on the CPU, otherwise one for each process")
    threads: int = Field(0, ge=0, description="CPU threads of each process; 0: the machine's cores divided among the processes")
    nodes: int = Field(1, ge=1, description="Machines that share a job evenly; where hosts are named, they are counted instead")
    hosts: tuple[str, ...] = Field(
        (), description="Machines that share a job, reached by ssh and seeing the same folders; empty: this machine alone"
    )
    rendezvous_port: int = Field(29_400, ge=1_024, le=65_535, description="Port of the first machine where the processes meet")
    restarts: int = Field(1, ge=0, description="Times that a job is started again from its checkpoint after a process died")

    @property
    def num_nodes(self) -> int:
        """Machines that share a job."""
        return len(self.hosts) or self.nodes

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.num_gpus not in (0, self.num_processes):
            raise ValueError(f"num_gpus {self.num_gpus} must be 0 or num_processes ({self.num_processes})")
        if self.num_processes % self.num_nodes:
            machines = f"{len(self.hosts)} hosts" if self.hosts else f"{self.nodes} nodes"
            raise ValueError(f"num_processes {self.num_processes} must be a multiple of the {machines} that share them")
        return self

    def for_batch(self, sequences: int) -> Self:
        """Return the placement of a job whose step has fewer sequences than there are processes: it takes fewer of them.

        They are as many as divide the sequences evenly and fill whole machines, or a part of one.
        """
        if sequences >= self.num_processes:
            return self
        on_one = self.num_processes // self.num_nodes
        fitting = [n for n in range(1, sequences + 1) if sequences % n == 0 and (n <= on_one or n % on_one == 0)]
        nodes = -(-fitting[-1] // on_one)
        gpus = fitting[-1] if self.num_gpus else 0
        return self.model_copy(
            update={
                "num_processes": fitting[-1],
                "num_gpus": gpus,
                "hosts": self.hosts[:nodes],
                "nodes": 1 if self.hosts else nodes,
            }
        )


class LauncherConfig(Placement):
    """Where a training job runs: placement, never part of an artifact's identity."""

    kind: Kind | None = Field(
        None,
        description="What starts the processes: this process (local), ssh (hosts), or a job of Slurm, Ray or Kubernetes; "
        "all but local outlive this process and are found again; null: hosts where hosts are named, otherwise local",
    )
    slurm: SlurmConfig = Field(SlurmConfig(), description="Settings of kind slurm")
    ray: RayJobConfig = Field(RayJobConfig(), description="Settings of kind ray")
    kubernetes: KubernetesConfig | None = Field(None, description="Settings of kind kubernetes, which needs them")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        kind = self.launched_by
        if self.hosts and kind != "hosts":
            raise ValueError(f"hosts are for kind hosts, not {kind}; for other kinds nodes says how many machines")
        if kind == "hosts" and not self.hosts:
            raise ValueError("kind hosts needs hosts: the names of the machines, as ssh knows them")
        if self.nodes > 1 and kind in ("local", "hosts"):
            raise ValueError(f"nodes {self.nodes}: on several machines, name hosts, or set kind to slurm, ray or kubernetes")
        if kind in SCHEDULED and not self.threads:
            raise ValueError(f"threads 0: kind {kind} reserves CPUs on machines that are not this one; say how many threads")
        if kind == "kubernetes" and not self.kubernetes:
            raise ValueError("kind kubernetes needs the section kubernetes, with image and claim at least")
        return self

    @property
    def launched_by(self) -> Kind:
        """The kind of launcher."""
        return self.kind or ("hosts" if self.hosts else "local")

    @property
    def placement(self) -> dict[str, Any]:
        """What the trainer needs to know, whoever starts the processes."""
        return self.model_dump(include=set(Placement.model_fields))
