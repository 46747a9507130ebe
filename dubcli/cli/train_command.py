"""`dub prepare`, `dub train` and what is trained beside models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dubcli.cli.command_options import options_of
from dubcli.cli.view import View
from dubcli.config import OccluderTrainConfig, PrepareConfig, SyncTrainConfig, TrainConfig
from dubcli.config.commands import PREPARE, TRAIN, TRAIN_OCCLUDER, TRAIN_SYNC
from dubcli.models.registry import find_architecture, model_names


@options_of(PREPARE)
def prepare_set(config: PrepareConfig, view: View) -> None:
    """Build a training set from a folder of clips."""
    from dubcli.training.data.prepare import prepare

    with view.progress_in("clips") as progress:
        prepare(config, progress=progress)
    view.say(f"the training set is in {config.output}")


def _what_is_trained() -> list[str]:
    """Models, and the second words of what is trained beside them."""
    models = [name for name in model_names() if find_architecture(name).recipe is not None]
    beside = (TRAIN_SYNC, TRAIN_OCCLUDER)
    return [*models, *(one.name.removeprefix(f"{TRAIN.name}-") for one in beside)]


def _names_of_models() -> dict[str, str]:
    """Stages and losses of each model, as help names them."""
    found = [find_architecture(name) for name in model_names()]
    stages = {one.name: [*one.stages] for one in found}
    losses = {
        one.name: dict.fromkeys(name for names in one.stages.values() for name in names)
        for one in found
    }
    return {"stage": _listed(stages), "losses": _listed(losses)}


def _listed(by_model: Mapping[str, Iterable[str]]) -> str:
    rows = [f"{model}: {', '.join(names)}" for model, names in by_model.items() if names]
    return f"{'; '.join(rows)}."


@options_of(TRAIN, words=_what_is_trained, more_help=_names_of_models())
def train_model(config: TrainConfig, view: View) -> None:
    """Train a model on a prepared set."""
    from dubcli.training.run import train

    with view.progress_in("steps") as progress:
        train(config, progress=progress)
    view.say(f"the run is in {config.output}")


@options_of(TRAIN_SYNC, preset={"model": "sync"})
def train_sync_expert(config: SyncTrainConfig, view: View) -> None:
    """Train an expert that tells whether lips and sound are in step."""
    from dubcli.sync.training import train_sync

    with view.progress_in("steps") as progress:
        train_sync(config, progress=progress)
    view.say(f"the run is in {config.output}")


@options_of(TRAIN_OCCLUDER, preset={"model": "occluder"})
def train_occluder_network(config: OccluderTrainConfig, view: View) -> None:
    """Train the network that segments what lies in front of a face."""
    from dubcli.occlusion.training import train_occluder

    with view.progress_in("steps") as progress:
        path = train_occluder(config, progress=progress)
    view.say(f"the weights are in {path}, their scores beside them")
