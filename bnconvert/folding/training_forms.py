"""What a graph leaves out of a model that is set up for training: BN408 and BN409."""

from collections import Counter
from collections.abc import Iterator, Sequence

from torch import nn

from bnconvert.modules.normalization import Normalization
from bnconvert.modules.site import Site
from bnconvert.reporting.records import Finding
from bnconvert.verification.finding_ids import TRAINING_FORM, TRAINING_MODE

_OTHER_DOMAIN = "for another domain, fold or export inside of `with bnc.domain(model, ...)`"
_FINE_TUNE = "nothing; to train on, keep the model itself, not the folded one"


def training_form_findings(model: nn.Module, sites: Sequence[Site]) -> Iterator[Finding]:
    """Yield what the graph of a model leaves out that training has.

    Args:
        model: as it was given.
        sites: its norms.
    """
    if model.training and "eval" not in vars(model):
        yield Finding(
            TRAINING_MODE,
            "info",
            ("",),
            "the model is in training mode; what was captured is its eval mode",
            "call model.eval() first, so that the model does the same beside it",
            "model.eval()",
        )
    special = [site for site in sites if isinstance(site.module, Normalization | nn.SyncBatchNorm)]
    plain = [site for site in special if _is_plain(site.module)]
    chosen = {domain: _paths(plain, domain) for domain in dict.fromkeys(map(_domain, plain))}
    for domain, paths in chosen.items():
        of = f"the statistics of {domain!r}, one of several domains" if domain else ""
        yield Finding(
            TRAINING_FORM,
            "info",
            paths,
            f"{_classes(plain, paths)}: in eval mode batch norm by "
            f"{of or 'the running statistics'}, and the graph has that; what else they do in "
            "training is left out",
            _OTHER_DOMAIN if domain else _FINE_TUNE,
        )
    own = tuple(site.path for site in special if not _is_plain(site.module))
    if own:
        yield Finding(
            TRAINING_FORM,
            "info",
            own,
            f"{_classes(special, own)}: no fixed scale and shift in eval mode, so that the graph "
            "has their own operators",
            "nothing; bnc.revert(model) gives plain batch norm back where that was trained",
        )


def _is_plain(module: nn.Module) -> bool:
    return not isinstance(module, Normalization) or module.is_batch_norm_in_eval


def _domain(site: Site) -> str:
    """Return the domain whose statistics a norm uses, where there are several; else ""."""
    domains: Sequence[str] = getattr(site.module, "domains", ())
    if len(domains) < 2:
        return ""
    active = getattr(site.module, "active", None)
    return active if isinstance(active, str) else domains[0]


def _paths(sites: Sequence[Site], domain: str) -> tuple[str, ...]:
    return tuple(site.path for site in sites if _domain(site) == domain)


def _classes(sites: Sequence[Site], paths: Sequence[str]) -> str:
    counted = Counter(site.class_name for site in sites if site.path in paths)
    return ", ".join(f"{count} {name}" for name, count in counted.items())
