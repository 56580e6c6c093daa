"""Encode and decode pictures that live in GPU memory, in an application built on pycuda.

    pip install ".[tensorrt,pycuda]"
    python export/to_engine.py src/rdc_codec/bundle -o engines
    python examples/pycuda_app.py photo.png --model engines

The application owns the CUDA context, the stream and the memory; the codec works in that context, in the order of that
stream. pycuda is built when it is installed: that takes a CUDA toolkit (nvcc, curand.h) and a driver.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pycuda.driver as cuda
from PIL import Image
from pycuda import gpuarray

from rdc_codec import Codec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="bundle with engines")
    parser.add_argument("--quality", type=float, default=50)
    parser.add_argument("-o", "--output", type=Path, default=Path("decoded.png"))
    args = parser.parse_args()

    cuda.init()
    context = cuda.Device(0).make_context()  # the application's own, current from here on
    try:
        codec = Codec(args.model, backend="tensorrt")
        print(codec.backend)
        stream = cuda.Stream()

        # A picture in: any kernel of the application may have written it, on this stream.
        pixels = np.asarray(Image.open(args.photo).convert("RGB"))
        frame = gpuarray.to_gpu_async(pixels, cuda_stream=stream)
        data = codec.encode(frame, args.quality, cuda_stream=stream)
        print(f"{len(data)} bytes, {8 * len(data) / (pixels.shape[0] * pixels.shape[1]):.3f} bits per pixel")

        # A picture out, into memory of the application: a GPUArray, or a view of any DeviceAllocation.
        memory = cuda.mem_alloc(pixels.nbytes)
        target = gpuarray.GPUArray(pixels.shape, np.uint8, gpudata=memory)
        codec.decode(data, out=target, cuda_stream=stream)  # returns while the GPU works
        decoded = target.get_async(stream=stream)
        stream.synchronize()
        Image.fromarray(decoded).save(args.output)
        del codec, stream, frame, target, memory  # what they hold belongs to the context
    finally:
        context.pop()


if __name__ == "__main__":
    main()
