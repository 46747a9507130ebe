"""The commands whose options are fields of configurations."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dubcli.config.batch_config import BatchConfig
from dubcli.config.compare_config import CompareConfig
from dubcli.config.dub_config import DubConfig
from dubcli.config.evaluate_config import EvaluateConfig
from dubcli.config.finetune_config import FinetuneConfig
from dubcli.config.occluder_train_config import OccluderTrainConfig
from dubcli.config.plan_config import PlanConfig
from dubcli.config.prepare_config import PrepareConfig
from dubcli.config.pull_config import PullConfig
from dubcli.config.report_config import ReportConfig
from dubcli.config.study_config import StudyConfig
from dubcli.config.sync_train_config import SyncTrainConfig
from dubcli.config.tables_config import TablesConfig
from dubcli.config.train_config import TrainConfig

_LOUDNESS = ("progress", "quiet", "verbose")


@dataclass(frozen=True, kw_only=True)
class CommandSpec:
    """What makes the options of one command.

    Attributes:
        name: As configuration files call it; on the command line `train-sync` is two words.
        config: Its first fields are the positional arguments, the others are options.
        positional: How many of them are.
        view: Fields of `ViewConfig` that are options too.
        fixed: Fields of `config` that the command sets itself; they are no options.
        inherits: The command whose settings count where this one has none of its own.
    """

    name: str
    config: type
    positional: int = 1
    view: tuple[str, ...] = _LOUDNESS
    fixed: tuple[str, ...] = ()
    inherits: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """Fields of `config` that are positional arguments."""
        return tuple(entry.name for entry in fields(self.config)[: self.positional])


DUB = CommandSpec(name="dub", config=DubConfig, view=("dry_run", *_LOUDNESS, "json"))
DEMO = CommandSpec(
    name="demo",
    config=DubConfig,
    view=("dry_run", *_LOUDNESS, "json"),
    fixed=("video", "audio"),
    inherits="dub",
)
PLAN = CommandSpec(name="plan", config=PlanConfig, view=(*_LOUDNESS, "json"), inherits="dub")
FINETUNE = CommandSpec(name="finetune", config=FinetuneConfig, view=(*_LOUDNESS, "json"))
PREPARE = CommandSpec(name="prepare", config=PrepareConfig)
TRAIN = CommandSpec(name="train", config=TrainConfig)
TRAIN_SYNC = CommandSpec(name="train-sync", config=SyncTrainConfig, fixed=("model",))
TRAIN_OCCLUDER = CommandSpec(name="train-occluder", config=OccluderTrainConfig, fixed=("model",))
EVALUATE = CommandSpec(name="evaluate", config=EvaluateConfig, view=(*_LOUDNESS, "json"))
TABLES = CommandSpec(name="tables", config=TablesConfig, positional=2, view=(*_LOUDNESS, "json"))
BATCH = CommandSpec(name="batch", config=BatchConfig, view=(*_LOUDNESS, "json"))
COMPARE = CommandSpec(name="compare", config=CompareConfig, view=("quiet", "verbose", "json"))
REPORT = CommandSpec(name="report", config=ReportConfig, view=(*_LOUDNESS, "json"))
STUDY = CommandSpec(name="study", config=StudyConfig, view=(*_LOUDNESS, "json"))
MODELS_PULL = CommandSpec(name="models-pull", config=PullConfig, view=(*_LOUDNESS, "json"))

COMMANDS = {
    spec.name: spec
    for spec in (
        *(DUB, DEMO, PLAN, FINETUNE, PREPARE, TRAIN, TRAIN_SYNC, TRAIN_OCCLUDER, EVALUATE),
        *(TABLES, BATCH, COMPARE, REPORT, STUDY, MODELS_PULL),
    )
}
