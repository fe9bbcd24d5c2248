"""Keep torch's exporters off the terminal: stdout is for results, stderr for progress.

Stands in for a public way to make `torch.onnx.export` quiet: the exporter for TorchScript prints
from C++, past `sys.stdout`. Known to work since torch 2.13.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch

_LOGGERS = ("torch.onnx", "torch.export")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence prints, warnings and log records while torch exports a copy of the model.

    They speak of the copy and of intermediate graphs (of caches that its forward fills, and on
    failure the whole graph); what they tell is found out by checks, or stands in the exception.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def without_graph_prints() -> Iterator[None]:
    """Keep the exporter for TorchScript from printing the whole graph when it fails."""
    log = torch._C._jit_onnx_log
    torch._C._jit_onnx_log = lambda *words: None  # the exporter switches it on, always
    try:
        yield
    finally:
        torch._C._jit_onnx_log = log
