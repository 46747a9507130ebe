"""How checkpoints of several stages become one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dubcli.core.errors import TrainingError
from dubcli.training.stage import Assembled, Trained

# The network is convolutional: its parts may be trained on crops of different size.
_FREE_FIELDS = ("height", "width")
_BASIS_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class SoundPart:
    """The part of a model that is trained by sound, in a stage of its own.

    Attributes:
        stage: That stage.
        prefixes: Starts of the names of its weights.
        shared: Tensors that both stages fit to their data, which must be the same.
    """

    stage: str
    prefixes: tuple[str, ...]
    shared: tuple[str, ...]

    def taken_over(self, whole: Trained, other: Trained) -> dict[str, Tensor]:
        """The weights of a model with this part of another checkpoint.

        Raises:
            TrainingError: They are not parts of one model.
        """
        _require_same_network(whole, other)
        for name in self.shared:
            _require_same_basis(whole, other, name)
        return {
            name: other.tensors[name] if name.startswith(self.prefixes) else value
            for name, value in whole.tensors.items()
        }


def join_stages(
    checkpoints: Sequence[Trained], sound: SoundPart, pictures: Sequence[str]
) -> Assembled:
    """The pictures of one checkpoint with the sound part of another.

    Args:
        checkpoints: One of a stage of pictures; where it has no trained sound part of its own, or
            there is a longer run of it, one of the sound part's stage as well.
        sound: What the second one lends.
        pictures: Stages whose checkpoints ship with such a part.

    Raises:
        TrainingError: They are not parts of one model.
    """
    wholes = [one for one in checkpoints if one.state.stage != sound.stage]
    others = [one for one in checkpoints if one.state.stage == sound.stage]
    if len(wholes) != 1 or len(others) > 1:
        known = " or ".join(pictures)
        raise TrainingError(
            f"One checkpoint of stage {known}, with at most one of {sound.stage}, is a model.",
            f"Name one of stage {known}.",
        )
    (whole,) = wholes
    tensors = sound.taken_over(whole, others[0]) if others else whole.tensors
    return Assembled(tensors=tensors, config=whole.state.model_config)


def _require_same_network(one: Trained, other: Trained) -> None:
    """Refuse checkpoints of configurations that differ in more than the size of crops."""
    first, second = one.state.model_config, other.state.model_config
    names = {*first, *second} - {*_FREE_FIELDS}
    differing = sorted(name for name in names if first.get(name) != second.get(name))
    if differing:
        raise TrainingError(
            f"'{one.path}' and '{other.path}' differ in {', '.join(differing)}.",
            "Train both with the same --preset.",
        )
    if set(one.tensors) != set(other.tensors):
        raise TrainingError(
            f"'{one.path}' and '{other.path}' hold different tensors.",
            "Train both with the same --preset.",
        )


def _require_same_basis(one: Trained, other: Trained, name: str) -> None:
    """Refuse checkpoints whose mouth coefficients mean different mouths."""
    gap = float((one.tensors[name] - other.tensors[name]).abs().max())
    if gap > _BASIS_TOLERANCE:
        raise TrainingError(
            f"'{one.path}' and '{other.path}' have mouth bases that differ by {gap:.2g}.",
            "Train both on the same data, or start one from the other with --init.",
        )
