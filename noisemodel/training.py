"""Training runs in pytorch-lightning: optimisers, batches by step, checkpoints, progress, resuming."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from noisemodel.devices import check_share
from noisemodel.evaluation.energy_score import not_worse
from noisemodel.game import Game, score_batches
from noisemodel.generator import NoiseGenerator
from noisemodel.lightning_parts import GradientWatch, diverged, gradient_norm, run_fit
from noisemodel.patches import Crops, CropSource
from noisemodel.quantities import describe

REMEDY = "give a smaller --lr_physics, --lr_critic or --lr"


class StepBatches(Dataset[list[Crops]]):
    """The batches of one generator step: ``critic_steps`` for the critic, then one for the generator."""

    def __init__(self, source: CropSource, critic_steps: int, rows: slice | None) -> None:
        """Read ``rows`` of every global batch of ``source``."""
        self.source, self.critic_steps, self.rows = source, critic_steps, rows

    def __getitem__(self, step: int) -> list[Crops]:
        """All batches of ``step``."""
        purposes = [f"critic {k}" for k in range(self.critic_steps)] + ["generator"]
        return [self.source.batch(step, purpose, self.rows) for purpose in purposes]


class StepSampler(Sampler[int]):
    """Steps from where the run stands to its end: a resumed run goes on with the batch that it had come to."""

    def __init__(self, gan: "NoiseGan") -> None:
        """Follow the step count of ``gan``."""
        self.gan = gan

    def __iter__(self) -> Iterator[int]:
        """The steps still to do."""
        return iter(range(int(self.gan.step), self.gan.options.num_iter))

    def __len__(self) -> int:
        """All steps, done ones too: Lightning counts from the first."""
        return self.gan.options.num_iter


class NoiseGan(pl.LightningModule):
    """Plays a `Game` by hand-written optimisation steps.

    Args:
        game: generator, critic and losses.
        source: training batches; each process reads its rows of the global batch.
    """

    def __init__(self, game: Game, source: CropSource) -> None:
        """Start at step 0."""
        super().__init__()
        self.automatic_optimization = False
        self.game, self.source, self.options = game, source, game.options
        self.losses: dict[str, float] = {}
        self.watch = GradientWatch()
        self.state_file: Path | None = None  # the last good state, for messages
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def train_dataloader(self) -> DataLoader[list[Crops]]:
        """One item per generator step."""
        self.game.rank, self.game.world = self.global_rank, self.trainer.world_size
        share = self.options.batch_size // self.game.world
        rows = slice(self.game.rank * share, (self.game.rank + 1) * share) if self.game.world > 1 else None
        batches = StepBatches(self.source, self.options.critic_steps, rows)
        return DataLoader(batches, batch_size=None, sampler=StepSampler(self))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the critic; Adam for the generator, with steps of their own for logs, patterns and the network."""
        options, generator = self.options, self.game.generator
        physics = [p for p in generator.physical.parameters() if p.requires_grad]
        law = [] if generator.iso_law is None else list(generator.iso_law.parameters())
        pattern_step = options.lr_physics * float(self.game.ruler.a) ** 0.5
        groups = [
            {"params": [p for p in physics if p.ndim == 0] + law, "lr": options.lr_physics},
            {"params": [p for p in physics if p.ndim > 0], "lr": pattern_step},
            {"params": [] if generator.network is None else list(generator.network.parameters()), "lr": options.lr},
        ]
        betas = (options.b1, options.b2)
        return [
            torch.optim.Adam(self.game.critic.parameters(), lr=options.lr_critic, betas=betas),
            torch.optim.Adam([group for group in groups if group["params"]], betas=betas),
        ]

    def training_step(self, batches: list[Crops], _: int) -> None:
        """``critic_steps`` steps of the critic, then one of the generator."""
        for_critic, for_generator = self.optimizers()  # type: ignore[attr-defined]
        step = int(self.step)
        self._set_lr(for_critic, step, least=0.1)
        self._set_lr(for_generator, step, least=0.0)
        for k, crops in enumerate(batches[:-1]):
            loss, gap = self.game.critic_loss(crops, f"critic {k}", step)
            for_critic.zero_grad()
            self.manual_backward(loss)
            critic_norm = gradient_norm(self.game.critic.parameters())
            for_critic.step()
        self.game.critic.requires_grad_(False)
        loss = self.game.generator_loss(batches[-1], step)
        for_generator.zero_grad()
        self.manual_backward(loss)
        norm = gradient_norm(self.game.generator.parameters())
        if step >= self.options.warmup:
            for_generator.step()
        self.game.critic.requires_grad_(True)
        self.step += 1
        self.game.average(step + 1)
        figures = torch.stack([gap, loss.detach(), critic_norm, norm])
        *losses, critic_size, size = self.trainer.strategy.reduce(figures, reduce_op="mean").tolist()
        self.losses = dict(zip(("critic_gap", "generator_loss"), losses, strict=True))
        if not math.isfinite(sum(losses)):
            files = [file for crops in batches for file in crops.files]
            raise diverged(step, self.losses, REMEDY, files, self.state_file)
        self.watch.look({"critic": critic_size, "generator": size}, step)
        if self.logger is not None:
            self.logger.log_metrics(self.losses, step=int(self.step))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget Lightning's own counts: a finished epoch would not go on where num_iter has grown."""
        del checkpoint["loops"]

    def _set_lr(self, optimizer: Any, step: int, least: float) -> None:
        """Linear decay from each group's own step to ``least`` of it at num_iter."""
        left = 1 - step / self.options.num_iter if self.options.lr_decay else 1.0
        for group in optimizer.param_groups:
            first = group.setdefault("first_lr", group["lr"])
            group["lr"] = first * (least + (1 - least) * left)


class Recorder(pl.Callback):
    """Scores the generator at intervals and at the end; hands each score to ``record``, and saves the resume state.

    In the first half, while the average still remembers the start, the latest model is kept; in the second half the one
    of the best score, or a later one that is not worse (see `not_worse`).

    Args:
        validation: where the score's crops come from.
        interval: generator steps between scores.
        resume_file: the state to resume from.
        record: called with (module, score, whether to keep the model) on the first process, before the state is saved.
    """

    def __init__(
        self, validation: CropSource, interval: int, resume_file: Path, record: Callable[[NoiseGan, float, bool], None]
    ) -> None:
        """Read the validation crops when training starts."""
        self.validation, self.interval, self.resume_file, self.record = validation, interval, resume_file, record
        self.best: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """The best scores so far survive a resume."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best scores so far."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score where the run starts."""
        pl_module.state_file = self.resume_file  # type: ignore[assignment]
        self.batches = score_batches(self.validation, pl_module.device)
        if isinstance(pl_module, NoiseGan) and int(pl_module.step) == 0:
            self._score(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Score at intervals and at the last step."""
        step = int(pl_module.step)
        if step % self.interval == 0 or step == pl_module.options.num_iter or trainer.should_stop:
            self._score(trainer, pl_module)

    def _score(self, trainer: pl.Trainer, gan: NoiseGan) -> None:
        scores = gan.game.score(self.batches)
        if not bool(torch.isfinite(scores).all()):
            raise diverged(int(gan.step), {"score": float(scores.mean())}, REMEDY, (), self.resume_file)
        settled = 2 * int(gan.step) >= gan.options.num_iter
        keep = not settled or self.best is None or not_worse(scores, self.best)
        if trainer.is_global_zero:
            self.record(gan, float(scores.mean()), keep)
        if settled and (self.best is None or scores.mean() < self.best.mean()):
            self.best = scores
        trainer.save_checkpoint(self.resume_file, weights_only=False)


def learned_figures(generator: NoiseGenerator, names: Sequence[str]) -> str:
    """Physical parameters in DN and electrons, on one line."""
    table = generator.physical.parameters_table()
    return describe([p for p in table if p.name in names], generator.physical.levels)


def fit(
    gan: NoiseGan,
    callbacks: list[pl.Callback],
    *,
    devices: Sequence[int] = (),
    nodes: int = 1,
    logger: Any = False,
    resume: Path | None = None,
) -> None:
    """Train to num_iter, on the CPU or on the GPUs of each node that ``devices`` names.

    Raises: InputError if the batch cannot be shared out.
    """
    check_share(gan.options.batch_size, len(devices) or 1, nodes)
    run_fit(gan, callbacks, devices=devices, nodes=nodes, logger=logger, resume=resume, deterministic=bool(devices))
