"""Photos of a folder, decoded once into a raw cache, served as random crops."""

from __future__ import annotations

import hashlib
import json
import math
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

SMALLEST = 64  # a photo must hold one hyper-latent
REDUCTION = 2.0  # how much smaller a picture is made at most
SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def list_images(folder: str | Path) -> list[Path]:
    """Image files below `folder`, sorted; raises FileNotFoundError when there are none."""
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no images under {folder}")
    return paths


class PhotoCache:
    """All photos of a folder as one uint8 memory map, decoded on first use.

    Validation photos are those whose file name hashes lowest, so adding photos moves few between the two
    sets, and `minimum`, the shortest side of a photo that training uses, moves none.
    """

    def __init__(self, folder: str | Path, cache: str | Path, minimum: int, validation: int = 16) -> None:
        paths = list_images(folder)
        described = (f"{p.relative_to(folder)}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in paths)
        key = hashlib.sha256("\n".join(described).encode()).hexdigest()
        stem = Path(cache) / f"photos-{key[:16]}"
        if not stem.with_suffix(".json").exists():
            self._decode(paths, stem)
        entries = json.loads(stem.with_suffix(".json").read_text())
        self.pixels = np.memmap(stem.with_suffix(".u8"), np.uint8, "r")
        entries = [e for e in entries if min(e["height"], e["width"]) >= SMALLEST]
        entries.sort(key=lambda e: hashlib.sha256(e["name"].encode()).digest())
        self.validation = entries[:validation]
        self.training = [e for e in entries[validation:] if min(e["height"], e["width"]) >= minimum]
        if not self.training:
            raise ValueError(f"{folder} has no photo of at least {minimum} pixels a side left to train on")

    @staticmethod
    def _decode(paths: list[Path], stem: Path) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        entries, offset = [], 0
        partial = stem.with_suffix(f".{os.getpid()}.partial")  # two trainers may start at once
        with open(partial, "wb") as file, ThreadPool() as pool:
            decoded = tqdm(pool.imap(_pixels, paths), desc="decoding photos", unit="photo", total=len(paths))
            for path, pixels in zip(paths, decoded, strict=True):
                file.write(pixels.tobytes())
                entries.append(
                    {"name": path.name, "offset": offset, "height": pixels.shape[0], "width": pixels.shape[1]}
                )
                offset += pixels.size
        os.replace(partial, stem.with_suffix(".u8"))
        partial.write_text(json.dumps(entries))
        os.replace(partial, stem.with_suffix(".json"))

    def photo(self, entry: dict) -> np.ndarray:
        """uint8 [H, W, 3], a view of the map."""
        h, w, start = entry["height"], entry["width"], entry["offset"]
        return self.pixels[start : start + h * w * 3].reshape(h, w, 3)


def _pixels(path: Path) -> np.ndarray:
    """Decode a photo, uint8 [H, W, 3]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _weights(caches: Sequence[tuple[PhotoCache, float]], size: int) -> np.ndarray:
    """Return the probability of each training picture of all sets, float64.

    A set has its share. In it a picture is drawn with weight by its area (large ones hold more crops), capped at
    eight crops' worth.
    """
    parts = []
    for cache, share in caches:
        area = np.array([e["height"] * e["width"] for e in cache.training], np.float64)
        weights = np.minimum(area, 8 * size * size)
        parts.append(share * weights / weights.sum())
    weights = np.concatenate(parts)
    return weights / weights.sum()


class Crops:
    """Endless batches of random crops, uint8 [N, 3, size, size], prepared by one background thread.

    Pictures of several sets are mixed by shares (`_weights`). Flips both ways and transposition; half the time
    a picture is reduced first (bicubic), by any factor up to `REDUCTION` that leaves room for the crop: so the model
    sees sharp content too, and each place in many forms.
    """

    def __init__(self, caches: Sequence[tuple[PhotoCache, float]], size: int, batch: int, seed: int) -> None:
        self.size, self.batch = size, batch
        self.random = np.random.default_rng(seed)
        self.pictures = [(cache, entry) for cache, _ in caches for entry in cache.training]
        self.weights = _weights(caches, size)
        self.ready: queue.Queue[torch.Tensor | Exception] = queue.Queue(4)
        threading.Thread(target=self._fill, daemon=True).start()

    def _crop(self) -> np.ndarray:
        cache, entry = self.pictures[self.random.choice(len(self.weights), p=self.weights)]
        photo, size = cache.photo(entry), self.size
        shorter = min(photo.shape[:2])
        factor = 1.0
        if self.random.random() < 0.5:
            factor = min(shorter / size, REDUCTION) ** self.random.random()
        side = min(math.ceil(factor * size), shorter)
        top = self.random.integers(photo.shape[0] - side + 1)
        left = self.random.integers(photo.shape[1] - side + 1)
        crop = photo[top : top + side, left : left + side]
        if factor > 1:
            span = min(factor * size, side)
            reduced = Image.fromarray(crop).resize(
                (size, size), Image.Resampling.BICUBIC, box=(0, 0, span, span)
            )
            crop = np.asarray(reduced)
        for axis in (0, 1):
            if self.random.random() < 0.5:
                crop = np.flip(crop, axis)
        if self.random.random() < 0.5:
            crop = crop.transpose(1, 0, 2)
        return crop.transpose(2, 0, 1)

    def _fill(self) -> None:
        try:
            while True:
                self.ready.put(torch.from_numpy(np.stack([self._crop() for _ in range(self.batch)])))
        except Exception as error:
            self.ready.put(error)  # raised where the batch is waited for

    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            batch = self.ready.get()
            if isinstance(batch, Exception):
                raise RuntimeError("cannot read training photos") from batch
            yield batch


def reducing(factor: torch.Tensor, size: int) -> torch.Tensor:
    """Return what makes `size` pixels of the first factor * size of a row, for each factor in [1, REDUCTION].

    factor: float [N, 1]. Returns float [N, size, ceil(REDUCTION * size)], rows of sum 1: the bicubic filter of Pillow
    (R. Keys, 1981, a = -1/2), made wider by the factor.
    """
    taps = torch.arange(math.ceil(REDUCTION * size), device=factor.device)
    centre = (torch.arange(size, device=factor.device) + 0.5) * factor
    x = ((taps + 0.5 - centre[:, :, None]) / factor[:, :, None]).abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weight = torch.where(x < 1, near, torch.where(x < 2, far, 0)) * (taps < factor[:, :, None] * size)
    return weight / weight.sum(2, keepdim=True)


class DeviceCrops:
    """The same batches, cut on a GPU from pictures that all lie in its memory (three bytes a pixel).

    A thread on the CPU makes about fifty crops a second, a GPU trains on thousands.
    """

    def __init__(
        self,
        caches: Sequence[tuple[PhotoCache, float]],
        size: int,
        batch: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.size, self.batch, self.device = size, batch, device
        self.random = torch.Generator(device).manual_seed(seed)
        self.pixels = torch.cat([torch.from_numpy(np.array(cache.pixels)).to(device) for cache, _ in caches])
        rows, start = [], 0
        for cache, _ in caches:
            rows += [(start + e["offset"], e["height"], e["width"]) for e in cache.training]
            start += len(cache.pixels)
        self.pictures = torch.tensor(rows, device=device)
        self.weights = torch.from_numpy(_weights(caches, size)).float().to(device)
        self.colours = torch.arange(3, device=device)

    def _chance(self) -> torch.Tensor:
        """Draw a number in [0, 1) for each crop, float [N, 1]."""
        return torch.rand(self.batch, 1, generator=self.random, device=self.device)

    def _batch(self) -> torch.Tensor:
        size = self.size
        chosen = torch.multinomial(self.weights, self.batch, replacement=True, generator=self.random)
        start, height, width = self.pictures[chosen, None].unbind(2)  # each [N, 1]
        largest = (torch.minimum(height, width) / size).clamp(max=REDUCTION)
        factor = torch.where(self._chance() < 0.5, largest ** self._chance(), 1.0)
        taps, ramp = reducing(factor, size), torch.arange(math.ceil(REDUCTION * size), device=self.device)
        filters, places = [], []
        for side in (height, width):
            taken = torch.minimum((factor * size).ceil().long(), side)
            first = (self._chance() * (side - taken + 1)).long()
            places.append(torch.minimum(first + ramp, side - 1))
            filters.append(torch.where((self._chance() < 0.5)[:, :, None], taps, taps.flip(1)))
        rows, columns = places
        index = start[:, :, None] + 3 * (rows[:, :, None] * width[:, :, None] + columns[:, None, :])
        window = self.pixels[index[..., None] + self.colours].float()
        window = torch.einsum("nik,nklc->nilc", filters[0], window)  # both at once is an outer product first
        crops = torch.einsum("njl,nilc->nijc", filters[1], window).round().clamp(0, 255)
        turned = (self._chance() < 0.5)[:, :, None, None]
        crops = torch.where(turned, crops.transpose(1, 2), crops)
        return crops.to(torch.uint8).permute(0, 3, 1, 2)

    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            yield self._batch()
