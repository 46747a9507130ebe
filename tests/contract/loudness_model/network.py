"""Loudness: a mouth that opens with the sound, as lively as the person is.

Paper: none. Original code: none. Weights: none that ship.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dubcli.core.errors import IdentityError
from dubcli.models.api import (
    NUM_SPEAKING,
    AudioSpec,
    CropSpec,
    FigureSpec,
    ModelSpec,
    ModelWindow,
    Motion,
    Patches,
    ReferencePolicy,
    Subject,
)
from dubcli.models.common.layers import conv
from dubcli.models.common.masks import SPEAKING, mouth_mask
from dubcli.models.common.mouth_map import INNER, NUM_CHANNELS, draw_mouth, pixel_grid
from loudness_model.config import LoudnessConfig
from loudness_model.options import LoudnessOptions


@dataclass(frozen=True, kw_only=True)
class LoudnessState:
    """What holds for all frames of a person.

    Attributes:
        liveliness: Spread of the mouth opening over the track. Shape ().
        still: Mean of the references. Shape (3, H, W).
    """

    liveliness: Tensor
    still: Tensor


class Loudness(nn.Module):
    """Both parts, behind the contract."""

    lower: Tensor

    def __init__(self, config: LoudnessConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LoudnessConfig()
        self.options = LoudnessOptions()
        self.over_time = nn.Conv1d(1, 1, 2 * config.motion_context + 1)
        # Masked crop and mask, drawn mouth, mean of the neighbours, mean of the references.
        seen = 3 + 1 + NUM_CHANNELS + 3 + 3
        self.enter = conv(seen, config.channels)
        self.out = conv(config.channels, 4)
        lower = torch.zeros(NUM_SPEAKING, 3)
        lower[INNER.start + 1 : INNER.start + 10, 1] = 1
        self.register_buffer("lower", lower)

    @property
    def spec(self) -> ModelSpec:
        """What the pipeline must supply."""
        config = self.config
        return ModelSpec(
            name="loudness",
            crop=CropSpec(size=(config.height, config.width)),
            audio=AudioSpec(kind="mel", width=16),
            motion_context=config.motion_context,
            context=1,
            references={
                "still": ReferencePolicy(count=2),
                "around": ReferencePolicy(count=3, order="neighbours"),
            },
            needs=frozenset({"landmarks", "track"}),
            gives_motion=True,
            takes_motion=True,
            figures={"opening": FigureSpec(help="how far the mouth opens", low_below=0.01)},
        )

    def configure(self, options: LoudnessOptions | None) -> None:
        """How the next dubs are made; None: as by default."""
        self.options = options or LoudnessOptions()

    def prepare(self, subject: Subject) -> LoudnessState:
        """Liveliness of the other video's person, where one is named, else of the subject."""
        person = subject.second or subject
        assert person.track is not None
        mouth = person.track.points[person.track.valid][:, SPEAKING][:, INNER, 1]
        return LoudnessState(
            liveliness=mouth.std(), still=subject.references["still"].crops.mean(0)
        )

    def state_tensors(self, state: LoudnessState) -> dict[str, Tensor]:
        """All but what follows from the pictures."""
        return {"liveliness": state.liveliness[None]}

    def state_from_tensors(self, tensors: dict[str, Tensor], subject: Subject) -> LoudnessState:
        """The state of stored tensors and the references that they belong to."""
        if set(tensors) != {"liveliness"} or tensors["liveliness"].shape != (1,):
            raise IdentityError(
                "The stored state does not fit this network.", "Learn it again with dub finetune."
            )
        still = subject.references["still"].crops.mean(0)
        return LoudnessState(liveliness=tensors["liveliness"][0].to(still), still=still)

    def facts(self, state: LoudnessState) -> Mapping[str, object]:
        """What the report tells of the job."""
        return {"liveliness": round(float(state.liveliness), 4)}

    def openings(self, audio: Tensor) -> Tensor:
        """Openings (B, T) of runs of frames with sound (B, T, A, D), in units of liveliness.

        Where a run begins or ends, its first or last frame stands for those that are missing.
        """
        loud = audio.mean((2, 3))[:, None]
        padded = functional.pad(loud, (self.config.motion_context,) * 2, mode="replicate")
        return functional.softplus(self.over_time(padded))[:, 0]

    def predict_motion(self, window: ModelWindow, state: LoudnessState) -> Motion:
        """The neutral mouth, its lower lip lower the louder it is."""
        openings = self.openings(window.audio[None])[0, window.emit]
        openings = openings * state.liveliness * self.options.reach
        points = window.geometry.neutral + openings[:, None, None] * self.lower
        return Motion(points=points, confidence=torch.ones_like(openings), source="loudness")

    def render(self, window: ModelWindow, motion: Motion | None, state: LoudnessState) -> Patches:
        """Paint the mouth into the lower face."""
        assert motion is not None
        crops, motion = window.shown()[window.emit], motion.rows(window.emit)
        points = window.geometry.rows(window.emit).place(motion.points)
        around = window.shown()[window.neighbours["around"]].mean(1)
        rgb, alpha = self.paint(crops, points, around, state.still[None])
        opening = (motion.points - window.geometry.neutral)[:, INNER, 1].amax(1)
        return Patches(rgb=rgb, alpha=alpha, points=points, figures={"opening": opening})

    def paint(
        self, crops: Tensor, points: Tensor, around: Tensor, still: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Crops with the mouth at points (E, S, 2) and how much of them counts.

        Args:
            crops: Shape (E, 3, H, W).
            points: Crop px. Shape (E, S, 2).
            around: Mean of the neighbours. Shape (E, 3, H, W).
            still: Mean of the references. Shape (1, 3, H, W) or (E, 3, H, W).
        """
        height, width = crops.shape[-2:]
        mask = mouth_mask("fixed", crops, points)
        drawn = draw_mouth(points, pixel_grid(height // 4, width // 4, 4, (0, 0)), 2.0, refine=4)
        seen = [crops * (1 - mask), mask, drawn, around, still.expand_as(crops)]
        out = self.out(functional.silu(self.enter(torch.cat(seen, 1))))
        painted, alpha = torch.sigmoid(out).split((3, 1), 1)
        return crops * (1 - mask) + painted * mask, 0.5 + alpha / 2
