"""This folder makes bundles of checkpoints (`to_onnx.py`): all that passes from training to the runtime."""
