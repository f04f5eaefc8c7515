"""Between pixels as they are kept, uint8, and as networks see them, [-1, 1]."""

import torch


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Float32 in [-1, 1] from uint8 pixels; float data pass as they are."""
    return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
