"""The origin of a file: digests of what it was made from, kept in its metadata.

A file whose numbers disagree is often compared with something else than it was made from: other
weights, or inputs that it normalizes itself. The digests say which, before any operator is blamed.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from bnconvert.errors import Refusal
from bnconvert.exporting.writing.onnx_contents import OnnxContents
from bnconvert.modules.digests import (
    digest_of,
    statistics_digest,
    tensor_digest,
    weights_digest,
)
from bnconvert.modules.kinds import norms_in
from bnconvert.verification.raw_inputs import RawInput

KEY = "bnconvert.origin"
_MOMENTUM = re.compile(r"momentum=[^,)]*,? ?")
_MANY = 64  # numbers that are more are kept as a digest


@dataclass(frozen=True)
class Origin:
    """What a file was made from.

    Attributes:
        model: the class.
        weights: a digest of all parameters and buffers but the running statistics, whatever they
            are called and in whatever order.
        statistics: likewise of the running statistics, recomputed ones where `calibrated`.
        norms: how many norms of each class.
        policy: a digest of the classes and settings of all norms.
        preprocess: mean, std and axis of each raw input.
        dynamic_axes: the sizes that each input of the file may have; a name where it may vary.
        calibrated: whether the statistics were recomputed at the export.
    """

    model: str
    weights: str
    statistics: str
    norms: Mapping[str, int]
    policy: str
    preprocess: Mapping[str, Mapping[str, Any]]
    dynamic_axes: Mapping[str, Sequence[int | str]]
    calibrated: bool = False

    @classmethod
    def of(
        cls,
        model: nn.Module,
        raw: Sequence[RawInput],
        known: Mapping[str, str] = MappingProxyType({}),
        **more: Any,
    ) -> "Origin":
        """Take the digests of a model and its preprocessing.

        Args:
            model: the model.
            raw: its inputs that the file normalizes itself.
            known: its `digests`, where they were taken already.
            more: the other attributes.
        """
        norms = [norm for _, norm, _ in norms_in(model)]
        settings = (f"{type(n).__name__}({_MOMENTUM.sub('', n.extra_repr())})" for n in norms)
        return cls(
            type(model).__name__,
            known.get("weights") or weights_digest(model),
            known.get("statistics") or statistics_digest(model),
            dict(Counter(type(norm).__name__ for norm in norms)),
            digest_of(text.encode() for text in settings),
            {
                r.name: {"mean": _numbers(r.mean), "std": _numbers(r.std), "axis": r.axis}
                for r in raw
            },
            more.pop("dynamic_axes", {}),
            **more,
        )

    @property
    def digests(self) -> dict[str, str]:
        """The digests of the model's tensors, by name, as a report has them."""
        return {"weights": self.weights, "statistics": self.statistics}

    def to_json(self) -> str:
        """Return it as text for the file's metadata."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, file: OnnxContents) -> "Origin | None":
        """Return what a file says of itself; None where it does not, as files of other tools."""
        try:
            return cls(**json.loads(file.properties[KEY]))
        except Exception:
            return None

    def differences(self, given: "Origin") -> Iterator[Refusal]:
        """Yield how what a file is compared with differs from what it was made from.

        Args:
            given: what it is compared with.
        """
        if _comparable(self.preprocess) != _comparable(given.preprocess):
            yield self._other_preprocess(given)
        if self.weights != given.weights:
            other = f" ({self.model}, and this is {given.model})"
            yield Refusal(
                "other-weights",
                f"the file was made from other weights{other if self.model != given.model else ''}",
                "give those that were exported (--weights FILE), or export again",
            )
        elif self.statistics != given.statistics:
            yield self._other_statistics()
        if self.policy != given.policy:
            yield Refusal(
                "other-norms",
                f"the file was made from a model with other norms or settings ({_words(self)}, "
                f"and this has {_words(given)})",
                "convert the model with the same policy first, or export again",
            )
        if self.dynamic_axes and _sizes(self.dynamic_axes) != _sizes(given.dynamic_axes):
            yield self._other_axes(given)

    def _other_axes(self, given: "Origin") -> Refusal:
        names = [*self.dynamic_axes, *(n for n in given.dynamic_axes if n not in self.dynamic_axes)]
        before, now = _sizes(self.dynamic_axes), _sizes(given.dynamic_axes)
        changed = [
            f"{name} as {before.get(name, 'no input')} and has it as {now.get(name, 'none')} now"
            for name in names
            if before.get(name) != now.get(name)
        ]
        return Refusal(
            "other-axes",
            f"the file was written with its input {'; '.join(changed)} (* may vary)",
            "export again with these sizes as dynamic_shapes, or undo what changed the file",
        )

    def _other_statistics(self) -> Refusal:
        if self.calibrated:
            return Refusal(
                "other-statistics",
                "the file has running statistics that were recomputed when it was exported "
                "(calibration, --data)",
                "recompute the model's over the same data first (bnconvert recompute), and give "
                "the result as --weights",
            )
        return Refusal(
            "other-statistics",
            "the file was made with other running statistics, while all weights are the same",
            "give those that were exported (--weights FILE), or export again",
        )

    def _other_preprocess(self, given: "Origin") -> Refusal:
        if not self.preprocess:
            return Refusal(
                "other-preprocess",
                "the file takes inputs that are normalized already",
                "leave preprocess (--preprocess) out",
            )
        names = ", ".join(self.preprocess)
        fact = f"the file normalizes {names} itself"
        fact += ", with other numbers" if given.preprocess else ", and no preprocess was given"
        words = self.preprocess_options()
        if words is None:
            return Refusal(
                "other-preprocess", fact, "give the preprocess that it was exported with"
            )
        return Refusal("other-preprocess", fact, f"give raw inputs and {' '.join(words)}")

    def preprocess_options(self) -> list[str] | None:
        """Return the words of a command line that mean the preprocessing; None where none do."""
        words: list[str] = []
        for name, numbers in self.preprocess.items():
            parts = [numbers["mean"], numbers["std"]]
            if any(isinstance(part, str) for part in parts):
                return None
            texts = (part if isinstance(part, list) else [part] for part in parts)
            value = "/".join(",".join(map(str, text)) for text in texts)
            words += ["--preprocess", f"{name}={value}"]
        return words


def is_unedited(file: OnnxContents) -> bool | None:
    """Tell whether a file is as bnconvert wrote it; None where it does not say."""
    known = file.properties.get("bnconvert.content")
    try:
        return None if known is None else known == file.digest()
    except OSError:
        return None  # its weights are not there: ONNX Runtime says which


def _numbers(values: Tensor) -> Any:
    """Return numbers as they are; as text where they are too many or of several axes."""
    if values.dim() > 1 or values.numel() > _MANY:
        return f"sha256:{tensor_digest(values).hex()}"
    return values.tolist()


def _comparable(preprocess: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a preprocessing so that the same numbers, written in other ways, compare equal."""
    return {name: [_short(n["mean"]), _short(n["std"])] for name, n in preprocess.items()}


def _short(numbers: Any) -> Any:
    """Return numbers with the digits of float32; one number where all are the same."""
    if not isinstance(numbers, list):
        return numbers if isinstance(numbers, str) else f"{numbers:.7g}"
    texts = [f"{number:.7g}" for number in numbers]
    return texts[0] if len(set(texts)) == 1 else texts


def _sizes(axes: Mapping[str, Sequence[int | str]]) -> dict[str, str]:
    """Return the sizes of each input as text: what an axis that may vary is called says nothing."""
    return {
        name: f"({', '.join('*' if isinstance(size, str) else str(size) for size in sizes)})"
        for name, sizes in axes.items()
    }


def _words(origin: Origin) -> str:
    return ", ".join(f"{count} {name}" for name, count in origin.norms.items()) or "none"
