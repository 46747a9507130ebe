"""Small IPTalker networks and what they are shown."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dubcli.models.common.masks import SPEAKING
from dubcli.models.iptalker.network import NAMED_CONFIGS, IPTalker, IPTalkerConfig, Rendered

TINY = NAMED_CONFIGS["tiny"]
PLAIN = replace(
    TINY, box_top=0.0, visual_top=0.5, mask="hull", geometry_map=False, fusion="plain", paste="face"
)
WHOLE = replace(PLAIN, modulation="every-layer")
FRAMES, KEPT = 2, 133


def made_model(config: IPTalkerConfig) -> IPTalker:
    """A network all of whose layers matter: some start at zero."""
    torch.manual_seed(0)
    model = IPTalker(config).eval()
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            value.add_(0.05 * torch.randn_like(value))
    return model


def made_face(num: int, config: IPTalkerConfig) -> Tensor:
    """Landmarks around the lower middle of the crop. Shape (num, K, 2)."""
    middle = torch.tensor([0.5 * config.width, 0.65 * config.height])
    spread = torch.tensor([0.2 * config.width, 0.15 * config.height])
    return middle + spread * (2 * torch.rand(num, KEPT, 2) - 1)


def rendered(model: IPTalker, audio: Tensor | None = None) -> Rendered:
    """From sound to picture, by the paper's modules alone."""
    config = model.config
    torch.manual_seed(1)
    size = (config.height, config.width)
    crops, pictures = torch.rand(FRAMES, 3, *size), torch.rand(config.num_references, 3, *size)
    points, landmarks = (
        made_face(config.num_references, config)[:, SPEAKING],
        made_face(FRAMES, config),
    )
    drawn = torch.randn(FRAMES, config.audio_width, config.audio_size)
    audio = drawn if audio is None else audio
    state = model.encode_references(pictures, points)
    code, speaking = model.alignment(audio, state.tokens), None
    if config.geometry_map:
        coefficients = model.alignment.to_coefficients(code)
        neutral = torch.zeros(FRAMES, 102, 3)
        moved = model.alignment.speaking_points(coefficients, neutral)[..., :2]
        speaking = landmarks[:, SPEAKING] + moved
        code = model.coefficient_code(coefficients)
    return model.warp_and_inpaint(crops, crops, landmarks, speaking, code, state)
