"""Loading a checkpoint into a module that has more, or less, state than the checkpoint.

Stands in for a public method that a class can extend. `register_load_state_dict_pre_hook` is
public, but it registers with one instance, and every copy, pickle and successor of a module would
have to be registered anew. Known to work since torch 2.10.
"""

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn


class StateLoading(nn.Module):
    """A module that says what a checkpoint lacks, and what of it is of no use."""

    def prepare_loading(self, state: Mapping[str, Any], *, assigns: bool) -> None:
        """Prepare for what is going to be loaded.

        Args:
            state: what the checkpoint has for this module; the prefix is cut off.
            assigns: whether its tensors replace the module's, or their numbers are copied.
        """

    def missing_state(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what to load beside a checkpoint's own entries.

        Args:
            state: what the checkpoint has for this module; the prefix is cut off.
        """
        return {}

    def unused_names(self) -> Collection[str]:
        """Return the names that a strict load may find without a place for them."""
        return ()

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = {
            key.removeprefix(prefix): value
            for key, value in state_dict.items()
            if key.startswith(prefix)
        }
        assigns = bool(local_metadata.get("assign_to_params_buffers", False))
        self.prepare_loading(own, assigns=assigns)
        # torch gives each module a dictionary of its own, from which it makes its children's.
        state_dict |= {prefix + name: value for name, value in self.missing_state(own).items()}
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        unused = {prefix + name for name in self.unused_names()}
        unexpected_keys[:] = [key for key in unexpected_keys if key not in unused]
