"""A context that sees every operator of a forward, also those that composite ones consist of.

Stands in for a public way to observe operators below autograd: `TorchDispatchMode` is described in
torch's documents and lives in a private module. Known to work since torch 2.10.
"""

from contextlib import AbstractContextManager
from typing import Any, Self

from torch.utils._python_dispatch import TorchDispatchMode

from bnconvert.torch_private.compilation import uncompiled
from bnconvert.torch_private.operators import calls_subgraphs


class OperatorObserver:
    """While it is entered, every operator runs through `run_operator`.

    Attributes:
        calls_regions: whether an operator on functions ran, such as `torch.cond`, of which only
            what the branch that was taken computes is seen, or nothing.
    """

    calls_regions = False
    _mode: TorchDispatchMode
    _eagerly: AbstractContextManager[None]

    def run_operator(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator and return its result; subclasses look at both.

        Operators that it calls itself are not observed.
        """
        return operator(*args, **kwargs)

    def __enter__(self) -> Self:
        """Begin.

        `torch.cond` compiles itself. Before torch 2.14 that fails below a mode, and from then on
        without one.
        """
        self._eagerly = uncompiled()
        self._eagerly.__enter__()
        self._mode = _Mode(self)
        self._mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """End; the mode is let go, which refers to this object."""
        mode, eagerly = self._mode, self._eagerly
        del self._mode, self._eagerly
        mode.__exit__(*error)
        eagerly.__exit__(*error)


class _Mode(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self, observer: OperatorObserver) -> None:
        super().__init__()
        self._observer = observer

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if calls_subgraphs(func):
            self._observer.calls_regions = True
            return self._run_region(func, args, kwargs or {})
        return self._observer.run_operator(func, args, kwargs or {})

    def _run_region(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operator of functions; those of the branch that `torch.cond` takes are seen."""
        if func.name() != "cond" or kwargs:
            return func(*args, **kwargs)
        taken = args[1] if args[0] else args[2]
        with self:
            return taken(*args[3])
