"""In which arithmetic large networks work: bfloat16 where the processor has it, else float32."""

from contextlib import AbstractContextManager

import torch

BF16_PROCESSORS = ("avx512_bf16", "amx_bf16")


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether 'auto', 'bf16' or 'fp32' means bfloat16 on this device."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in BF16_PROCESSORS)


def autocast(bf16: bool, device: torch.device) -> AbstractContextManager:
    """Runs matrix products and convolutions in bfloat16, or everything as it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)
