"""Keep torch's exporters off the terminal: stdout is for results, stderr for progress.

Stands in for a public way to make `torch.onnx.export` quiet: the exporter for TorchScript prints
from C++, past `sys.stdout`. Known to work since torch 2.10.
"""

import contextlib
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from bnconvert.torch_private.one_at_a_time import one_at_a_time

_LOGGERS = ("torch.onnx", "torch.export")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence prints, warnings and log records while torch exports a copy of the model.

    They speak of the copy and of intermediate graphs (of caches that its forward fills, and on
    failure the whole graph); what they tell is found out by checks, or stands in the exception.
    What other threads print meanwhile is printed.
    """
    with one_at_a_time(), _silent_loggers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            contextlib.redirect_stdout(_Muted(sys.stdout)),
            contextlib.redirect_stderr(_Muted(sys.stderr)),
        ):
            yield


class _Muted:
    """A stream that drops what one thread writes, and passes on what the others write."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        """Write, or drop, a text."""
        if threading.get_ident() != self._thread:
            self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else."""
        return getattr(self._stream, name)


@contextlib.contextmanager
def _silent_loggers() -> Iterator[None]:
    """Drop the records of torch's exporters, and restore their levels at the end."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def without_graph_prints() -> Iterator[None]:
    """Keep the exporter for TorchScript from printing the whole graph when it fails."""
    switch, was_on = torch._C._jit_set_onnx_log_enabled, torch._C._jit_is_onnx_log_enabled()
    switch(False)
    torch._C._jit_set_onnx_log_enabled = lambda enabled: None  # the exporter switches it on, always
    try:
        yield
    finally:
        torch._C._jit_set_onnx_log_enabled = switch
        switch(was_on)
