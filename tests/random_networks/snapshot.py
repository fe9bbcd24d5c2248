"""Everything about a model that a look at it must not change."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.random_networks.verdicts import WrongError

_CONTAINERS = (dict, list, tuple, set)


@dataclass(frozen=True)
class Snapshot:
    """A model's tensors bit by bit, and its modules, modes, hooks and attributes by identity."""

    tensors: dict[str, tuple[int, Tensor, bool]]
    modules: list[tuple[str, int, type, bool]]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module) -> "Snapshot":
        """Look at a model."""
        state = model.state_dict(keep_vars=True)
        return cls(
            {n: (id(t), t.detach().clone(), t.requires_grad) for n, t in state.items()},
            [(name, id(m), type(m), m.training) for name, m in model.named_modules()],
            {
                f"{path}.{name}": _shallow(value)
                for path, module in model.named_modules()
                for name, value in vars(module).items()
            },
        )

    def require(self, model: nn.Module, verb: str) -> None:
        """Raise unless the model is as it was.

        Raises:
            WrongError: it says what the verb has changed.
        """
        now = Snapshot.of(model)
        changed = [name for name, was in self.tensors.items() if not _same(was, now.tensors[name])]
        keys = self.attributes.keys() | now.attributes.keys()
        changed += [k for k in keys if self.attributes.get(k) != now.attributes.get(k)]
        if self.modules != now.modules:
            changed.append("modules or modes")
        if changed:
            raise WrongError(f"{verb} changed {', '.join(changed)}")


def _same(was: tuple[int, Tensor, bool], now: tuple[int, Tensor, bool]) -> bool:
    bits = [tensor[1].contiguous().flatten().view(torch.uint8) for tensor in (was, now)]
    return was[0] == now[0] and was[2] == now[2] and torch.equal(*bits)


def _shallow(value: Any) -> Any:
    """Return what identifies a value, and what is in it where it is a container."""
    if isinstance(value, dict):
        return id(value), [(key, id(inner)) for key, inner in value.items()]
    if isinstance(value, _CONTAINERS):
        return id(value), [id(inner) for inner in value]
    return value if isinstance(value, int | float | str | None) else id(value)
