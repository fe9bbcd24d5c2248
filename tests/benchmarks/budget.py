"""Measure how much of the verification's tolerance correct files use, over real architectures.

Run by hand: python -m tests.benchmarks.budget [--models resnet18,...] [--output budget.json]
Prints a table and writes JSON. `FACTOR` in tolerance.py is chosen from it: correct files must
stay well inside, and a tighter tolerance catches more wrong ones.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

import bnconvert as bnc
from bnconvert.reporting.table import table
from bnconvert.verification.tolerance import FACTOR
from tests.zoo import trained

MODELS = (
    "resnet18,mobilenetv3_small_050,efficientnet_b0,densenet121,regnetx_002,test_byobnet,"
    "ghostnet_050,lcnetv2_small,repghostnet_050,res2next50,resnest14d,resnet10t,resnetv2_18,"
    "rexnet_100,selecsls42,skresnet18,starnet_s050,test_efficientnet,mobilenetv2_035,"
    "mixnet_s,vgg11_bn,dla46x_c,hardcorenas_b,fasternet_t0,efficientvit_m0,levit_128s,"
    "mobilevit_xxs,tiny_vit_5m_224,repvgg_a0,mobileone_s0,nf_resnet26,seresnet50,"
    "ese_vovnet19b_slim_dw,tf_efficientnet_lite0,shvit_s1,visformer_tiny,edgenext_xx_small"
)


def measure(name: str, size: int) -> dict[str, object]:
    """Export one timm model with random statistics; return its figures."""
    import timm

    torch.manual_seed(0)
    model = trained(timm.create_model(name, pretrained=False))
    inputs = (torch.randn(2, 3, size, size),)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = bnc.export(model, inputs, Path(folder) / "model.onnx")
        except bnc.VerificationError as failure:
            report = failure.report
        except bnc.BnconvertError as failure:
            return {"model": name, "verdict": str(failure).splitlines()[0]}
    seconds = time.perf_counter() - start
    worst = max(check.error / check.allowed for check in report.checks if check.allowed)
    return {
        "model": name,
        "verdict": "failed" if report.failures else "verified",
        "norms": len(report.norms),
        "folded": report.count("folded"),
        "left in file": report.facts["BatchNormalization nodes"],
        "tolerance used": round(worst, 3),
        "seconds": round(seconds, 1),
        "note": "ill-conditioned" if any("ill-cond" in note for note in report.notes) else "",
    }


def main() -> None:
    """Measure every model, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--output", type=Path, default=Path("budget.json"))
    options = parser.parse_args()
    rows = []
    for name in options.models.split(","):
        rows.append(measure(name, options.size))
        print(rows[-1], flush=True)
        options.output.write_text(json.dumps({"factor": FACTOR, "rows": rows}, indent=2))
    longest = max(rows, key=len)
    columns = list(longest)
    print(table(columns, [[str(row.get(column, "")) for column in columns] for row in rows]))


if __name__ == "__main__":
    main()
