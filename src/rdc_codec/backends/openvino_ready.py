"""Importing this readies what OpenVINO's bindings make when it is first used.

They make it under a guard of C++ and give up Python's lock meanwhile: two threads that come there at once wait for each
other for ever, with all others. Python lets one thread at a time import a module.
"""

from __future__ import annotations

import numpy as np
import openvino

# Of a type of tensor the type of arrays, of an array a tensor, and of that an array.
openvino.Type.f32.to_dtype()
_ = openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).data[0]
