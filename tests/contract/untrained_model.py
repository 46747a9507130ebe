"""Networks that nobody has trained, of any architecture."""

from __future__ import annotations

from typing import Any

import torch

from dubcli.models.registry import create_model


def untrained_model(name: str, config: dict[str, Any]) -> Any:
    """An untrained model all of whose layers matter: some start at zero."""
    model = create_model(name, config)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn_like(value))
        for key, value in model.named_buffers():
            if value.is_floating_point():
                drawn = 0.02 * torch.randn_like(value)
                # A variance is about 1.
                value.copy_(1 + drawn if key.endswith("running_var") else drawn)
    return model.eval()
