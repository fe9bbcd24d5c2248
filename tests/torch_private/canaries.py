"""Every private name of torch that bnconvert uses: where, what it stands in for, how risky it is.

A table and no test. Nothing of bnconvert is imported, which a torch without one of the names may
not be able to.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

_ROOM = "torch_private/"


@dataclass(frozen=True)
class Canary:
    """One private name.

    Attributes:
        name: in full; where it is an attribute of objects, after the name of their class.
        file: who uses it, below bnconvert; "" where everybody may.
        purpose: what it is used for: "to ...".
        risk: "low", "medium" or "high", and why.
    """

    name: str
    file: str
    purpose: str
    risk: str

    def complaint(self) -> str | None:
        """Return what to look at where the installed torch lacks the name, or else None."""
        try:
            find(self.name)
        except (AttributeError, ImportError):
            version = torch.__version__.partition("+")[0]
            place = f"bnconvert/{self.file}"
            return (
                f"torch {version} has no {self.name}: look at {place}, which uses it {self.purpose}"
            )
        return None


def find(name: str) -> Any:
    """Return what a name stands for.

    Raises:
        AttributeError, ImportError: the installed torch has no such name.
    """
    value, path = torch, "torch"
    for part in name.split(".")[1:]:
        path += f".{part}"
        value = getattr(value, part) if hasattr(value, part) else importlib.import_module(path)
        value = _EXAMPLES[path]() if path in _EXAMPLES else value
    return value


@cache
def _program() -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim.DYNAMIC}
    return torch.export.export(nn.ReLU(), (torch.ones(2, 1),), dynamic_shapes=(batch,))


@cache
def _exported() -> torch.fx.GraphModule:
    module = _program().module()
    assert isinstance(module, torch.fx.GraphModule)
    return module


def _fake() -> torch.Tensor:
    (value,) = [node.meta["val"] for node in _exported().graph.find_nodes(op="placeholder")]
    assert isinstance(value, torch.Tensor)
    return value


#: An object of each class whose attributes stand in the table.
_EXAMPLES: dict[str, Callable[[], Any]] = {
    "torch.nn.Module": nn.Module,
    "torch.Tensor": lambda: torch.ones(1),
    "torch.UntypedStorage": lambda: torch.ones(1).untyped_storage(),
    "torch.SymInt": lambda: _fake().shape[0],
    "torch.export.ExportedProgram": _program,
    "torch.fx.Graph": lambda: _exported().graph,
    "torch._ops.OpOverload": lambda: torch.ops.aten.add_.Tensor,
    "torch._subclasses.fake_tensor.FakeTensor": _fake,
}


def _of_room() -> Iterator[Canary]:
    """Yield the names of which each is used in one file of torch_private."""
    for file, rows in _BY_FILE.items():
        for name, purpose, risk in rows:
            yield Canary(name, f"{_ROOM}{file}.py", purpose, risk)


_BY_FILE = {
    "compilation": (
        (
            "torch._dynamo.OptimizedModule",
            "to recognize what torch.compile made",
            "low: everybody who unwraps a model asks so",
        ),
        (
            "torch.nn.Module._compiled_call_impl",
            "to see that module.compile() was called",
            "low: what Module itself asks at each call",
        ),
    ),
    "exported_graphs": (
        (
            "torch.export.ExportedProgram._guards_code",
            "to let a program of a forward that takes **inputs be called",
            "medium: strings of Python, which torch itself rewrites before it runs them",
        ),
        (
            "torch._export.verifier.SpecViolationError",
            "to give way where torch does not take our program",
            "medium: its module is internal to torch.export",
        ),
        (
            "torch._subclasses.fake_tensor.FakeTensor",
            "to find what the values of a graph were computed with",
            "low: every graph tool of torch reads it",
        ),
        (
            "torch._subclasses.fake_tensor.FakeTensor.fake_mode",
            "to make values for weights that go with those of a graph",
            "low: as FakeTensor",
        ),
        (
            "torch.fx.Graph._codegen",
            "to hand a graph's calling convention on to the program made of it",
            "medium: reached for by nobody but torch.export",
        ),
        (
            "torch.fx.Graph._codegen.pytree_info",
            "to hand a graph's calling convention on to the program made of it",
            "medium: as _codegen",
        ),
    ),
    "function_transforms": (
        (
            "torch._C._are_functorch_transforms_active",
            "to see that torch.func transforms a forward",
            "low: what Function.apply itself asks",
        ),
        (
            "torch._C._functorch.is_legacy_batchedtensor",
            "to see that a backward pass gets a batch of gradients",
            "medium: goes when batched gradients move to torch.func",
        ),
        (
            "torch._C._functorch.maybe_get_level",
            "to see that a buffer is none of the transformed arguments",
            "medium: a binding; torch's own wrappers of functions need it",
        ),
        (
            "torch.autograd.forward_ad._current_level",
            "to see that forward-mode differentiation is on",
            "low: what its public functions ask",
        ),
    ),
    "module_hooks": tuple(
        (
            f"torch.nn.Module.{table}",
            "to list, remove and share forward hooks",
            "low: torch, accelerate and every profiler reach for it",
        )
        for table in (
            "_forward_hooks",
            "_forward_hooks_always_called",
            "_forward_hooks_with_kwargs",
            "_forward_pre_hooks",
            "_forward_pre_hooks_with_kwargs",
        )
    ),
    "module_state": (
        (
            "torch.nn.Module._non_persistent_buffers_set",
            "to give a successor all the state of a module",
            "low: unchanged for years",
        ),
    ),
    "norm_classes": (
        (
            "torch.nn.modules.instancenorm._InstanceNorm",
            "to tell instance norms from batch norms",
            "low: the base of a public class",
        ),
        (
            "torch.nn.BatchNorm2d._check_input_dim",
            "to refuse inputs that the class before would refuse",
            "low: every norm of torch extends it",
        ),
    ),
    "operator_observer": (
        (
            "torch.utils._python_dispatch.TorchDispatchMode",
            "to see every operator of a forward",
            "low: torch's documents teach it",
        ),
    ),
    "operators": (
        (
            "torch._ops.OpOverload",
            "to tell operators from functions",
            "low: every graph tool of torch asks so",
        ),
        (
            "torch._ops.HigherOrderOperator",
            "to tell operators on graphs from others",
            "low: as OpOverload",
        ),
        (
            "torch._ops.OpOverload._schema",
            "to read an operator's arguments, and what it changes",
            "low: the only source of it, much read",
        ),
        (
            "torch._ops.OpOverload._overloadname",
            "to find the functional counterpart of an in-place operator",
            "low: much read",
        ),
        (
            "torch._C._dispatch_has_kernel_for_dispatch_key",
            "to see whether an operator is composite",
            "medium: a binding; torch's own decompositions need it",
        ),
    ),
    "process_groups": (
        (
            "torch.distributed.distributed_c10d._resolve_process_group",
            "to find the process group of a copied or loaded norm",
            "medium: functional collectives are built on it; names of groups may change",
        ),
    ),
    "program_modules": (
        (
            "torch.export.ExportedProgram._graph_signature",
            "to call a copied program's tensors otherwise, as ExportedProgram.module() copies it",
            "low: what the public properties return",
        ),
        (
            "torch.export.ExportedProgram._state_dict",
            "to hold the tensors of a copied program under other names",
            "low: as _graph_signature",
        ),
        (
            "torch.export.ExportedProgram._constants",
            "to hold the tensors of a copied program under other names",
            "low: as _graph_signature",
        ),
    ),
    "recomputation": (
        (
            "torch._C._current_graph_task_id",
            "to see that a backward pass is running",
            "medium: a binding without a promise; torch's multi-tensor hooks need it",
        ),
        (
            "torch._C._autograd._top_saved_tensors_default_hooks",
            "to see whether a checkpoint compares what is saved",
            "medium: it got its argument late, and may get another",
        ),
    ),
    "silence": tuple(
        (
            f"torch._C.{binding}",
            "to keep the exporter for TorchScript from printing graphs",
            "high: goes when that exporter goes",
        )
        for binding in ("_jit_set_onnx_log_enabled", "_jit_is_onnx_log_enabled")
    ),
    "size_guards": (
        (
            "torch.export.ExportedProgram._guards_code",
            "to read on which conditions on sizes a program is right, and to add some",
            "high: no method returns them, and the attribute is internal",
        ),
    ),
    "state_loading": (
        (
            "torch.nn.Module._load_from_state_dict",
            "to load plain checkpoints into norms with more state",
            "low: every module with versions extends it",
        ),
    ),
    "storages": (
        (
            "torch.UntypedStorage._cdata",
            "to tell whether two tensors share memory",
            "low: torch.save tells storages by it",
        ),
        (
            "torch.multiprocessing.reductions.StorageWeakRef",
            "to refer to memory without keeping it",
            "medium: internal, though functorch and dynamo use it",
        ),
    ),
    "symbolic_sizes": (
        (
            "torch.fx.experimental.symbolic_shapes.statically_known_true",
            "to compare dynamic sizes without a guard",
            "low: its documents recommend it, `experimental` is history",
        ),
        (
            "torch.SymInt.node.hint",
            "to read the example's value of a dynamic size",
            "high: hints are being reworked in torch",
        ),
    ),
    "tensor_versions": (
        (
            "torch.Tensor._version",
            "to notice that a batch was changed in place",
            "low: autograd's errors name it",
        ),
    ),
    "views": (
        (
            "torch.Tensor._base",
            "to copy a view together with what it is a view of",
            "low: autograd's documents name it",
        ),
    ),
}

_OPERATOR = "low: an operator of exported programs, which outlive a torch"
_NORM = "medium: what export calls a norm by has changed before"
#: Operators that are private by name; files say which they are about.
_OPERATORS = (
    ("_native_batch_norm_legit_no_training.default", "graphs/aten.py", _NORM),
    (
        "_native_batch_norm_legit_no_training.default",
        "exporting/simplification/decomposed_program.py",
        _NORM,
    ),
    ("_native_batch_norm_legit_functional.default", "graphs/aten.py", _NORM),
    ("_native_batch_norm_legit.no_stats", "graphs/aten.py", _NORM),
    ("_assert_tensor_metadata.default", "graphs/aten.py", _OPERATOR),
    ("_convolution.default", "exporting/simplification/onnx_sample_convolution.py", _OPERATOR),
    ("_to_copy.default", "graphs/capture/borrowed_shapes.py", _OPERATOR),
    ("_assert_tensor_metadata.default", "folding/constants.py", _OPERATOR),
    ("_adaptive_avg_pool2d.default", "folding/operators/pooling.py", _OPERATOR),
    ("_adaptive_avg_pool3d.default", "folding/operators/pooling.py", _OPERATOR),
    ("_upsample_nearest_exact1d", "folding/operators/resizing.py", _OPERATOR),
    ("_upsample_nearest_exact2d", "folding/operators/resizing.py", _OPERATOR),
    ("_upsample_nearest_exact3d", "folding/operators/resizing.py", _OPERATOR),
    ("_upsample_bilinear2d_aa", "folding/operators/resizing.py", _OPERATOR),
    ("_upsample_bicubic2d_aa", "folding/operators/resizing.py", _OPERATOR),
    ("_unsafe_view.default", "folding/operators/views.py", _OPERATOR),
    ("_pack_padded_sequence.default", "torch_private/data_dependence.py", _OPERATOR),
)
_REGIONS = "medium: undocumented; torch.export has changed how it holds regions before"

#: What any file may use, and why.
_ANYWHERE = (
    ("torch.nn.Module._parameters", "to edit a module", "low: unchanged for years, much used"),
    ("torch.nn.Module._buffers", "to edit a module", "low: unchanged for years, much used"),
    ("torch.nn.Module._modules", "to edit a module", "low: unchanged for years, much used"),
    (
        "torch.nn.modules.batchnorm._BatchNorm",
        "to recognize batch norms",
        "low: timm, mmcv and torch's own tools ask so",
    ),
    (
        "torch.nn.modules.batchnorm._NormBase",
        "to have torch's own state and checkpoints in our norms",
        "low: the base of public classes",
    ),
    (
        "torch.utils._pytree",
        "to walk through nested inputs and outputs",
        "low: the specs of torch.export are made of it",
    ),
)

CANARIES = (
    *_of_room(),
    *(
        Canary(f"torch.ops.aten.{name}", file, "to recognize it", risk)
        for name, file, risk in _OPERATORS
    ),
    *(
        Canary(
            f"torch.ops.higher_order.{name}",
            "graphs/subgraphs.py",
            "to recognize regions",
            _REGIONS,
        )
        for name in ("wrap_with_autocast", "wrap_with_set_grad_enabled")
    ),
    *(Canary(name, "", purpose, risk) for name, purpose, risk in _ANYWHERE),
)
