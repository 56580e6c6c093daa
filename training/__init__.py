"""Training in two stages: `python -m training.stage1`, then `python -m training.stage2`."""
