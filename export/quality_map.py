"""Choose the manifest's quality map: how one dial splits into the qualities of the two branches.

    python -m export.quality_map --data TRAINING_PHOTOS --model BUNDLE -o map.json

Codes crops of photos at a grid of (base, auxiliary) qualities in real bytes. Each quality of the dial keeps the bits a
pixel that the bundle's own map gives it. Of all pairs with these bits the new map takes the one with the largest base
that loses no more PSNR than a tolerance (--tolerance) against the best of them in the mean, and no more than another
(--worst) for any photo: bits in the base serve machines and people, those in the auxiliary branch people alone. Both
qualities, bytes and PSNR rise along the dial. It begins with the lowest pair, which has the smallest base, and ends
with the highest auxiliary quality. Where that leaves no such pair, the table that is printed says what is missed.

The map also says what these photos have at each row: bits and PSNR of the stream and of its base. The search for bytes
or PSNR begins with that (`encode(target_bpp=...)`). --keep takes the pairs of the bundle's own map and measures them.

The table has for every row what the split costs: dB lost against the best pair in no more bytes, for the means over all
photos, and for the photo that loses most against the pair that is best for it alone. A second table has what other
shares of the base would cost (`encode(share=...)`).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator
from tqdm import tqdm

from export.photos import evenly
from rdc_codec import Codec, container
from rdc_codec.backends.ort_cpu import OnnxRuntimeBackend
from rdc_codec.bundle import HYPER_STRIDE, Bundle, quality_map_columns
from rdc_codec.container import ID_BYTES, Header, from_fixed, to_fixed
from rdc_codec.pixels import to_tensor
from rdc_codec.rates import FIGURES
from rdc_codec.targets import Steps

FINE = 401  # positions of each quality that the path may take
NEAR = 0.02  # how far the bits of a pair may be from those that a row asks for, as a fraction
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the base, whose costs are printed
PAIRS = ("quality", "base_quality", "aux_quality")
WORSE = 1e6  # what a dB over the tolerance weighs, in positions of the base


@dataclass
class Surface:
    """Holds what pairs of qualities gave, float [photos, base, auxiliary].

    bpp: bits a pixel of the whole stream. base_bpp: of its base. psnr: dB of the whole stream's picture. base_psnr: of
    the base's.
    """

    bpp: np.ndarray
    base_bpp: np.ndarray
    psnr: np.ndarray
    base_psnr: np.ndarray

    def at(self, base: np.ndarray, auxiliary: np.ndarray) -> Surface:
        """Return what the pairs at these positions have, float [photos, pairs]."""
        return Surface(*(getattr(self, field.name)[:, base, auxiliary] for field in fields(self)))


def measure(bundle: Bundle, crops: list[np.ndarray], grid: np.ndarray) -> Surface:
    """Code and decode every crop at every pair of the grid's qualities."""
    backend = OnnxRuntimeBackend(bundle, None, None)
    codec = Codec(bundle, backend=backend)
    found = Surface(*np.zeros((4, len(crops), len(grid), len(grid))))
    for place, crop in enumerate(tqdm(crops, unit="photo", file=sys.stderr)):
        height, width = crop.shape[:2]
        steps = Steps(backend.run, bundle, to_tensor(crop, HYPER_STRIDE), codec.slices, large=False)
        for b, base in enumerate(grid):
            for a, auxiliary in enumerate(grid):
                identities = (bundle.parse_id[:ID_BYTES], bundle.picture_id[:ID_BYTES])
                chunks = steps.chunks(base, auxiliary)
                stream = container.write(Header(width, height, 0, base, auxiliary, *identities), chunks)
                refinement = sum(len(payload) for _, payload in chunks[1:])
                if a == 0:
                    found.base_psnr[place, b] = _psnr(codec.decode(stream, 1.0, layers="base"), crop)
                found.bpp[place, b, a] = 8 / (height * width) * len(stream)
                found.base_bpp[place, b, a] = 8 / (height * width) * (len(stream) - refinement)
                found.psnr[place, b, a] = _psnr(codec.decode(stream), crop)
    return found


def _psnr(decoded: np.ndarray, crop: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((decoded.astype(float) - crop) ** 2), 1e-9)))


def refine(surface: Surface, grid: np.ndarray) -> tuple[np.ndarray, Surface]:
    """Interpolate the surface on a fine grid, so that it rises wherever what was measured does."""
    fine = np.linspace(grid[0], grid[-1], FINE)

    def finer(values: np.ndarray) -> np.ndarray:
        for axis in (1, 2):
            values = PchipInterpolator(grid, values, axis=axis)(fine)
        return values

    bpp, base_bpp = (np.exp(finer(np.log(values))) for values in (surface.bpp, surface.base_bpp))
    return fine, Surface(bpp, base_bpp, finer(surface.psnr), finer(surface.base_psnr))


def lost(bpp: np.ndarray, psnr: np.ndarray) -> np.ndarray:
    """Return by how many dB each pair stays below the best pair that takes no more bits, float [base, auxiliary]."""
    order = np.argsort(bpp, axis=None, kind="stable")
    best = np.empty(bpp.size)
    best[order] = np.maximum.accumulate(psnr.ravel()[order])
    return best.reshape(bpp.shape) - psnr


def rates_of(quality_map: dict[str, list[float]], dial: np.ndarray, bpp: np.ndarray) -> np.ndarray:
    """Return the bits a pixel that a map gives to each quality of the dial, of bpp, float [base, auxiliary]."""
    fine = np.linspace(0, 100, len(bpp))
    base, auxiliary = (
        np.searchsorted(fine, np.interp(dial, quality_map["quality"], quality_map[column]) - 1e-9)
        for column in ("base_quality", "aux_quality")
    )
    return bpp[base, auxiliary]


def choose(
    bpp: np.ndarray,
    psnr: np.ndarray,
    rates: np.ndarray,
    tolerance: float,
    beyond: np.ndarray | float = 0.0,
) -> list[tuple[int, int]]:
    """Choose a pair, as positions (base, auxiliary) on the surface, for each of the rising rates in bits a pixel.

    bpp, psnr: float [base, auxiliary]. beyond: dB by which each pair exceeds another bound, where that is above 0. The
    bases are as large as they can be, in their sum, among all paths that rise in both qualities, in bits and in PSNR,
    from the lowest pair to the highest auxiliary quality, that lose at most `tolerance` dB and exceed nothing; where
    there is none, among those that exceed it least.
    """
    distance = np.abs(np.log(bpp[..., None] / rates))  # [base, auxiliary, row]
    # The one position at which a base has the bits of a row; the dial ends at the highest, whatever bits that has.
    auxiliary = distance.argmin(1)  # [base, row]
    reached = distance.min(1) <= NEAR
    auxiliary[:, -1] = bpp.shape[1] - 1
    reached[:, -1] = bpp[:, -1] <= max(rates[-1], bpp[:, -1].min()) * (1 + NEAR)
    places = np.arange(len(bpp))
    reached[:, 0], auxiliary[:, 0] = places == 0, 0

    def at_row(values: np.ndarray, row: int) -> np.ndarray:
        return values[places, auxiliary[:, row]]

    excess = np.maximum(np.maximum(lost(bpp, psnr) - tolerance, beyond), 0)
    value = np.where(reached[:, 0], 0.0, -np.inf)
    before = np.zeros((len(rates), len(bpp)), int)
    for row in range(1, len(rates)):
        rises = places[:, None] < places  # [base of the row before, base]
        rises &= auxiliary[:, row - 1, None] <= auxiliary[:, row]
        for values in (bpp, psnr):
            rises &= at_row(values, row - 1)[:, None] < at_row(values, row)
        reach = np.where(rises, value[:, None], -np.inf)
        before[row] = reach.argmax(0)
        gained = places - WORSE * at_row(excess, row)
        value = np.where(reached[:, row], reach.max(0) + gained, -np.inf)
    if not np.isfinite(value.max()):
        raise SystemExit("no map of these rates rises: give a bundle whose map has bits that rise")
    path = [int(value.argmax())]
    for row in range(len(rates) - 1, 0, -1):
        path.append(int(before[row, path[-1]]))
    return [(base, int(auxiliary[base, row])) for row, base in enumerate(reversed(path))]


def figures(
    surface: Surface, fine: np.ndarray, base: np.ndarray, auxiliary: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the columns `rates.FIGURES` of a map whose rows are the pairs at these positions, each float [rows].

    bpp and base_bpp are geometric means over photos, psnr and base_psnr means. exponent: of photos, by which power of
    its base the bits of a stream grow (least squares of logarithms). bpp_rise, psnr_rise: by how much the logarithm of
    bits, and dB, grow with one auxiliary quality.
    """
    pairs = surface.at(base, auxiliary)
    bits, base_bits = np.log(pairs.bpp), np.log(pairs.base_bpp)
    beside, base_beside = bits - bits.mean(0), base_bits - base_bits.mean(0)
    found = {
        "bpp": np.exp(bits.mean(0)),
        "base_bpp": np.exp(base_bits.mean(0)),
        "psnr": pairs.psnr.mean(0),
        "base_psnr": pairs.base_psnr.mean(0),
        "exponent": (beside * base_beside).sum(0) / np.maximum((base_beside**2).sum(0), 1e-12),
    }
    for name, values in (("bpp_rise", np.log(surface.bpp).mean(0)), ("psnr_rise", surface.psnr.mean(0))):
        found[name] = np.gradient(values, fine, axis=1)[base, auxiliary]
    assert tuple(found) == FIGURES
    return found


def lost_by_share(bpp: np.ndarray, base_bpp: np.ndarray, psnr: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the dB lost when the base has each of SHARES of the bits, float [rate, share]; NaN where no pair does."""
    found = np.full((len(rates), len(SHARES)), np.nan)
    costs, places = lost(bpp, psnr), np.arange(len(bpp))
    for row, rate in enumerate(rates):
        distance = np.abs(np.log(bpp / rate))
        auxiliary = distance.argmin(1)
        share = (base_bpp / bpp)[places, auxiliary]
        share[distance.min(1) > NEAR] = np.nan
        for column, wanted in enumerate(SHARES):
            off = np.abs(share / wanted - 1)
            if np.nanmin(off) <= NEAR:
                base = int(np.nanargmin(off))
                found[row, column] = costs[base, auxiliary[base]]
    return found


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of training photos")
    parser.add_argument("--limit", type=int, default=16, help="photos to use, evenly spaced by name")
    parser.add_argument("--model", help="bundle (default: the shipped one)")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="JSON for export/to_onnx.py --quality-map"
    )
    parser.add_argument("--steps", type=int, default=11, help="grid points of each quality that are measured")
    parser.add_argument("--rows", type=int, default=21, help="rows of the map")
    parser.add_argument("--crop", type=int, default=320, help="pixels a side, from the middle of each photo")
    parser.add_argument(
        "--tolerance", type=float, default=0.1, help="dB that the split may cost at equal bytes"
    )
    parser.add_argument("--worst", type=float, default=0.5, help="dB that it may cost any of the photos")
    parser.add_argument(
        "--keep", action="store_true", help="keep the bundle's pairs, and measure what photos have"
    )
    args = parser.parse_args(argv)
    bundle = Bundle(args.model)
    grid = np.array(
        [from_fixed(to_fixed(q)) for q in np.linspace(0, 100, args.steps)]
    )  # as headers have them
    crops = [middle(rgb, args.crop) for _, rgb in evenly(args.data, args.limit)]
    fine, surface = refine(measure(bundle, crops, grid), grid)
    bpp, base_bpp, psnr = (v.mean(0) for v in (surface.bpp, surface.base_bpp, surface.psnr))
    costs = np.array([lost(*of_photo) for of_photo in zip(surface.bpp, surface.psnr, strict=True)]).max(0)
    of_bundle = quality_map_columns(bundle.manifest["quality_map"])
    dial = of_bundle[0] if args.keep else np.linspace(0, 100, args.rows)
    rates = rates_of(bundle.manifest["quality_map"], dial, bpp)
    if args.keep:
        qualities = of_bundle[1:]
        base, auxiliary = (np.abs(fine[:, None] - column).argmin(0) for column in qualities)
    else:
        base, auxiliary = np.array(choose(bpp, psnr, rates, args.tolerance, costs - args.worst)).T
        qualities = [fine[base], fine[auxiliary]]
    columns = dict(zip(PAIRS, (dial, *qualities), strict=True))
    written = columns | figures(surface, fine, base, auxiliary)
    args.output.write_text(
        json.dumps({k: [round(float(v), 4) for v in c] for k, c in written.items()}) + "\n"
    )
    told = [rates] + [v[base, auxiliary] for v in (bpp, base_bpp / bpp, psnr, lost(bpp, psnr), costs)]
    names = [
        "quality",
        "base",
        "auxiliary",
        "bpp before",
        "bpp",
        "base share",
        "PSNR dB",
        "lost dB",
        "worst dB",
    ]
    print(" ".join(f"{name:>10}" for name in names))
    for row in zip(*columns.values(), *told, strict=True):
        print(" ".join(f"{value:10.3f}" for value in row))
    print("\ndB lost by the share of the base:")
    print(f"{'quality':>10} " + " ".join(f"{share:7.1f}" for share in SHARES))
    for at, losses in zip(dial, lost_by_share(bpp, base_bpp, psnr, rates), strict=True):
        print(f"{at:10.3f} " + " ".join("      -" if np.isnan(loss) else f"{loss:7.2f}" for loss in losses))


def middle(rgb: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of a picture, at most so many pixels a side."""
    top, left = (max(0, (n - side) // 2) for n in rgb.shape[:2])
    return np.ascontiguousarray(rgb[top : top + side, left : left + side])


if __name__ == "__main__":
    main()
