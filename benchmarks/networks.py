"""Networks x formats x sizes, exact or refused: ``python -m benchmarks.networks RESULTS.jsonl [NAME ...]``.

Every network gets random weights with calibrated statistics and is exported in fp32 at its sizes: square, odd, and not
square. A file counts as exact if its embeddings of eight images differ from PyTorch's by less than 0.3 % of their
spread, or 50 times what rounding the weights otherwise changes. Pruning removes 30 % of the channels and is compared
with the masked network. Each line of RESULTS is one case; cases that are there are not run again, so that the command
can be stopped and repeated. It ends by printing the table of ``docs/architectures.md``. Hours for all networks.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from architectures import create_model
from benchmarks._micro_networks import MICRO
from compress.contracts import CompressError, Preprocess
from compress.pruning.comparison import computes_the_same
from compress.pruning.plan import choose_share, largest_share, prunable
from exporters import export_model
from exporters._deploy import Deployed
from exporters._written import embedded, judged
from validators import run_artifact

SUFFIXES = (".pt", ".onnx", ".tflite", ".mlpackage")
SIZES = ((64, 64), (65, 65), (64, 96))
TIMM = (
    *("mobilenetv4_conv_small_050", "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "mobilenetv3_small_050"),
    *("mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv2_035", "mobilenetv2_100", "mobilenetv1_100"),
    *("tf_mobilenetv3_small_minimal_100", "tf_efficientnet_lite0", "tf_efficientnet_b0", "efficientnet_b0"),
    *("efficientnet_lite0", "efficientnet_es", "test_efficientnet", "test_efficientnet_evos", "test_efficientnet_gn"),
    *("test_efficientnet_ln", "test_resnet", "test_vit", "test_convnext", "test_nfnet", "lcnet_050", "lcnet_100"),
    *("ghostnet_050", "ghostnet_100", "ghostnetv2_100", "mnasnet_small", "semnasnet_075", "spnasnet_100"),
    *("fbnetc_100", "fbnetv3_b", "hardcorenas_a", "tinynet_e", "tinynet_a", "mixnet_s", "rexnet_100", "regnetx_002"),
    *("regnety_002", "resnet10t", "resnet18", "resnet26t", "skresnet18", "mobileone_s0", "repvgg_a0", "repvit_m0_9"),
    *("repghostnet_050", "fastvit_t8", "mobilevit_xxs", "mobilevitv2_050", "edgenext_xx_small", "pvt_v2_b0"),
    *("efficientvit_b0", "efficientvit_m0", "tiny_vit_5m_224", "vit_tiny_patch16_224", "deit_tiny_patch16_224"),
    *("swin_tiny_patch4_window7_224", "convnext_atto", "convnextv2_atto", "starnet_s1", "inception_v3", "densenet121"),
    *("inception_next_atto", "hgnetv2_b0", "dla46_c", "ese_vovnet19b_dw", "xcit_nano_12_p16_224", "levit_128s"),
    *("poolformer_s12", "cs3darknet_focus_s", "gernet_s", "resmlp_12_224", "mixer_s32_224"),
)
FIXED = {
    **dict.fromkeys(("vit_tiny_patch16_224", "deit_tiny_patch16_224", "swin_tiny_patch4_window7_224"), ((224, 224),)),
    **dict.fromkeys(("mixer_s32_224", "resmlp_12_224", "levit_128s", "efficientvit_m0"), ((224, 224),)),
    "test_vit": ((160, 160),),
}
"""Networks that take images of one size."""
_PRUNED = "pruned"


def networks() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """Every network by name; ``micro: …`` are those of ``_micro_networks``."""
    for name, make in MICRO.items():
        yield f"micro: {name}", make
    for backbone in TIMM:
        yield backbone, lambda backbone=backbone: create_model("timm", backbone=backbone)  # type: ignore[misc]


def images(count: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """Clouds of colour, uint8 [count, H, W, 3]."""
    clouds = np.random.default_rng(seed).uniform(0, 255, (count, 3, 7, 7))
    pixels = F.interpolate(torch.from_numpy(clouds), size, mode="bicubic").clamp(0, 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


@torch.no_grad()
def calibrated(make: Callable[[], nn.Module], size: tuple[int, int]) -> nn.Module:
    """Fresh weights, with the statistics of real maps in batch normalisation."""
    torch.manual_seed(0)
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.reset_running_stats()
            module.momentum = None
            module.train()
    network((torch.from_numpy(images(16, size, 1)).permute(0, 3, 1, 2) / 255 - 0.45) / 0.225)
    return network.eval()


def exported(network: nn.Module, size: tuple[int, int], suffix: str) -> str:
    """``exact``, or why not in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{suffix}"
        try:
            export_model(network, path, input_size=size)
        except CompressError as error:
            return f"refused: {error}"
        shown = images(8, size, 2)
        found = run_artifact(path, shown)
    deployed = Deployed(network, Preprocess(size), "l2")
    judgement = judged(found, embedded(deployed, shown), deployed, shown, "fp32")
    return "exact" if judgement.passed else f"WRONG: {judgement.text()}"


def pruned(network: nn.Module, size: tuple[int, int]) -> str:
    """``exact`` or ``unchanged``, or what is wrong."""
    example = torch.zeros(1, 3, *size)
    found = prunable(network, example)
    chosen = choose_share(found, min(0.3, largest_share(found)))
    removed = {number for bundle in chosen for number in bundle.classes}
    if not removed:
        return "unchanged"
    same = computes_the_same(found.without(chosen), network, found.channels, removed, example)
    return "exact" if same else "WRONG: the smaller network computes something else"


def cases(names: Sequence[str]) -> Iterator[tuple[str, Callable[[], nn.Module], tuple[int, int], str]]:
    for name, make in networks():
        if names and name not in names:
            continue
        for size in FIXED.get(name, SIZES):
            for what in (*SUFFIXES, _PRUNED):
                yield name, make, size, what


def measured(make: Callable[[], nn.Module], size: tuple[int, int], what: str) -> str:
    """The outcome of one case in one line."""
    try:
        network = calibrated(make, size)
    except Exception as error:  # a fixed size, or code that cannot be traced
        first = str(error).strip().partition("\n")[0]
        return f"refused: {first}"
    try:
        return pruned(network, size) if what == _PRUNED else exported(network, size, what)
    except CompressError as error:
        return f"refused: {error}"
    except Exception as error:  # a crash is what this looks for
        first = str(error).strip().partition("\n")[0]
        return f"CRASH: {type(error).__name__}: {first}"


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: one row for all networks with the same outcomes, one column per format; sizes if they differ."""
    lines = [f"| network | {' | '.join((*SUFFIXES, _PRUNED))} |", f"|---{'|---' * (len(SUFFIXES) + 1)}|"]
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(result["network"] for result in results):
        cells = []
        for what in (*SUFFIXES, _PRUNED):
            own = [result for result in results if (result["network"], result["what"]) == (name, what)]
            words = [result["outcome"].partition(":")[0] for result in own]
            differing = ", ".join(f"{r['size'][0]}x{r['size'][1]} {word}" for r, word in zip(own, words, strict=True))
            cells.append(words[0] if len(set(words)) == 1 else differing)
        alike.setdefault(tuple(cells), []).append(name)
    lines += [f"| {', '.join(names)} | {' | '.join(cells)} |" for cells, names in alike.items()]
    return "\n".join(lines)


def main(path: Path, names: Sequence[str]) -> None:
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(result["network"], *result["size"], result["what"]) for result in known}
    with path.open("a", encoding="utf-8") as file:
        for name, make, size, what in cases(names):
            if (name, *size, what) in done:
                continue
            result = {"network": name, "size": size, "what": what, "outcome": measured(make, size, what)}
            print(name, size, what, result["outcome"], flush=True)
            file.write(json.dumps(result) + "\n")
            file.flush()
            known.append({**result, "size": list(size)})
    print(table(known))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
