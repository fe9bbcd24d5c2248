"""Situation: batch, devices, task and data of a training, and which norm they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bnconvert.conversion.choices import (
    DOMAINS,
    GAN,
    LARGE,
    MIXED,
    REINFORCEMENT,
    RELATED_PRETRAINED,
    RELATED_SCRATCH,
    SMALL,
    SMALL_DEVICES,
    SMALL_PRETRAINED,
    SMALL_SCRATCH,
    VERY_LARGE,
    Choice,
)
from bnconvert.modules.rewrite import Rewrite
from bnconvert.norms.frozen import Frozen
from bnconvert.norms.ghost import Ghost
from bnconvert.norms.group import Group
from bnconvert.norms.keep import Keep
from bnconvert.norms.renorm import Renorm
from bnconvert.norms.separate import Separate
from bnconvert.norms.sync import Sync

#: Tasks that change the choice. None is for independent samples: classification, segmentation.
Task = Literal["detection", "video", "reinforcement-learning", "gan"]
TASKS: tuple[str, ...] = get_args(Task)


@dataclass(frozen=True)
class Situation:
    """How a model is trained, as far as its norms are concerned.

    Attributes:
        batch_size: samples per device in one forward.
        world_size: processes that train together.
        task: one of `TASKS`; None for independent samples.
        domains: how many sources of data, or their names.
        pretrained: whether trained weights are loaded.
    """

    batch_size: int
    world_size: int = 1
    task: Task | None = None
    domains: int | Sequence[str] = 1
    pretrained: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: one of them is out of its range.
        """
        if self.batch_size < 1:
            raise ValueError(
                f"batch_size is {self.batch_size}; use the samples per device, 1 or more"
            )
        if self.world_size < 1:
            raise ValueError(
                f"world_size is {self.world_size}; use the number of processes, 1 or more"
            )
        if self.task is not None and self.task not in TASKS:
            raise ValueError(f"task is {self.task!r}; use one of {', '.join(TASKS)}, or None")
        if isinstance(self.domains, str) or (isinstance(self.domains, int) and self.domains < 1):
            raise ValueError(
                f"domains is {self.domains!r}; use the number of sources, 1 or more, or a tuple "
                "of their names"
            )

    @property
    def domain_names(self) -> tuple[str, ...]:
        """The names of the domains; none where there is only one."""
        if isinstance(self.domains, int):
            names = tuple(f"domain{number}" for number in range(1, self.domains + 1))
        else:
            names = tuple(self.domains)
        return names if len(names) > 1 else ()

    def seen(self, *, synchronized: bool) -> int:
        """Return the normalization batch: the samples that one norm sees in one forward."""
        return self.batch_size * (self.world_size if synchronized else 1)

    @property
    def devices_help(self) -> bool:
        """Whether all devices together have a batch that is not small."""
        return self.world_size > 1 and self.batch_size * self.world_size >= SMALL

    def choice(self, *, trained: bool, synchronized: bool) -> Choice:
        """Return the row of the table for one norm.

        Args:
            trained: whether its statistics are those of a training.
            synchronized: whether it sees the batches of all devices already.
        """
        seen = self.seen(synchronized=synchronized)
        small = seen < SMALL
        if self.domain_names:
            return DOMAINS
        if self.task in ("detection", "video"):
            return RELATED_PRETRAINED if trained else RELATED_SCRATCH
        if self.task == "reinforcement-learning" and (trained or not small):
            return RELATED_PRETRAINED if trained else REINFORCEMENT
        if small and trained:
            return SMALL_PRETRAINED
        if small:
            return SMALL_DEVICES if self.devices_help and not synchronized else SMALL_SCRATCH
        if self.task == "gan":
            return GAN
        return VERY_LARGE if seen >= LARGE and not self.pretrained else MIXED

    def rewrites(
        self, choice: Choice, *, groups: Sequence[int], synchronized: bool
    ) -> tuple[Rewrite, ...]:
        """Return the rewrites of a row, the best first and Keep last, which is always legal.

        Args:
            choice: a row that `choice` returned.
            groups: numbers of groups to try, the best first.
            synchronized: as for `choice`.
        """
        if choice in (MIXED, GAN):
            return (Keep(),)
        if choice in (SMALL_PRETRAINED, RELATED_PRETRAINED):
            return (Frozen(), Keep())
        if choice is VERY_LARGE:
            return (Ghost(32), Keep())
        if choice is REINFORCEMENT:
            return (Renorm(), Keep())
        if choice is DOMAINS:
            return (Separate(self.domain_names, each=self._of_each_domain(synchronized)), Keep())
        if choice is SMALL_DEVICES or (choice is RELATED_SCRATCH and self.devices_help):
            return (Sync(), Keep())
        return (*map(Group, groups), Renorm(), Keep())

    def _of_each_domain(self, synchronized: bool) -> Rewrite:
        small = self.batch_size < SMALL
        if synchronized or (small and self.devices_help):
            return Sync()
        return Renorm() if small else Keep()
