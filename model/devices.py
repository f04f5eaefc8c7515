"""Where tensors live."""

import os

import torch


def device() -> torch.device:
    """A GPU where there is one; of several processes on one machine each has its own (LOCAL_RANK)."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
