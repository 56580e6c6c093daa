"""Measures how far a classifier's opinion of photos moves: a smooth stand-in for accuracy, without labels.

python -m benchmarks.agreement --data PHOTOS --net CLASSIFIER.onnx MODEL [MODEL ...]

MODEL: a checkpoint or a bundle, its primary branch. For each trained level, means over centre crops: estimated bpp, the
Kullback-Leibler divergence of the classifier's probabilities for the decoded crop from those for the original
(nats), the share of crops whose first class stays, and PSNR. Then bits against the first model at equal divergence
and at equal PSNR. Choose weights of the cognition loss with it, on training photos: it costs a minute a model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from PIL import Image
from scipy.special import log_softmax
from tqdm import tqdm

from benchmarks.common import load_torch_model, psnr, table
from benchmarks.rate_cognition import bits_at_equal_metric
from benchmarks.tasks import Picture
from model import RateDistortionCognition
from model.transforms import to_folded, to_picture
from training.data import list_images

Opinion = Callable[[Picture], np.ndarray]


def opinions(net: Path) -> Opinion:
    """Make the function that gives the log-probabilities of a picture by an ONNX classifier with inputs -1..1."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(str(net), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    side = image.shape[2]

    def opinion(rgb: Picture) -> np.ndarray:
        small = Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR)
        values = np.asarray(small, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
        return log_softmax(session.run(None, {image.name: values})[0][0].astype(np.float64))

    return opinion


def centre_crops(folder: str, side: int, count: int) -> list[Picture]:
    """Crop photos evenly spaced over the sorted folder, of those that are large enough."""
    found = []
    for path in list_images(folder):
        with Image.open(path) as image:
            if min(image.size) >= side:
                found.append(path)
    crops = []
    for path in found[:: max(1, len(found) // count)][:count]:
        rgb = np.asarray(Image.open(path).convert("RGB"))
        top, left = ((n - side) // 2 for n in rgb.shape[:2])
        crops.append(np.ascontiguousarray(rgb[top : top + side, left : left + side]))
    return crops


@torch.no_grad()
def measure(model: RateDistortionCognition, crops: list[Picture], opinion: Opinion) -> np.ndarray:
    """Return float [levels, 4]: bpp, divergence, agreement, PSNR."""
    before = [opinion(rgb) for rgb in crops]
    rows = np.zeros((model.config.levels, 4))
    for level in range(model.config.levels):
        for rgb, old in zip(crops, before, strict=True):
            out = model.primary(to_folded(rgb), torch.tensor([float(level)]))
            shown = to_picture(out.image)[0].numpy()
            new = opinion(shown)
            rows[level] += [
                float(out.bits.sum()) / rgb[..., 0].size,
                float((np.exp(old) * (old - new)).sum()),
                float(old.argmax() == new.argmax()),
                psnr(rgb, shown),
            ]
    return rows / len(crops)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", required=True, help="folder of photos")
    parser.add_argument("--net", type=Path, required=True, help="ONNX classifier")
    parser.add_argument("--crop", type=int, default=320, help="side, a multiple of 64")
    parser.add_argument("--count", type=int, default=64, help="photos")
    args = parser.parse_args(argv)
    crops, opinion = centre_crops(args.data, args.crop, args.count), opinions(args.net)
    measured = [
        measure(load_torch_model(path), crops, opinion)
        for path in tqdm(args.models, unit="model", file=sys.stderr)
    ]
    rows = [
        [path, level, *map(float, row)]
        for path, found in zip(args.models, measured, strict=True)
        for level, row in enumerate(found)
    ]
    print(table(["model", "level", "bpp", "divergence", "agreement", "PSNR dB"], rows))
    print("\nbits against the first, %:")
    against = []
    for path, found in zip(args.models, measured, strict=True):
        curves = [
            [(m[:, 0], -np.log(m[:, 1])) for m in (measured[0], found)],
            [(m[:, 0], m[:, 3]) for m in (measured[0], found)],
        ]
        against.append([path, *(100 * bits_at_equal_metric(*pair) for pair in curves)])
    print(table(["model", "at equal divergence", "at equal PSNR"], against))


if __name__ == "__main__":
    main()
