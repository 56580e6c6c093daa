"""Checkpoint -> bundle (`to_onnx.py`): the only thing that passes from training to the runtime."""
