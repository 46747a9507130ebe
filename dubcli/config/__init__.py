"""One frozen configuration per command; every default and every help text stands here, once."""

from dubcli.config.batch_config import BatchConfig
from dubcli.config.compare_config import CompareConfig
from dubcli.config.dub_config import SYNC_MODES, DubConfig, Voice, voices_from
from dubcli.config.evaluate_config import BASELINES, EVALUATION_SETTINGS, EvaluateConfig
from dubcli.config.finetune_config import FinetuneConfig
from dubcli.config.occluder_train_config import OccluderTrainConfig
from dubcli.config.plan_config import PlanConfig
from dubcli.config.prepare_config import PrepareConfig
from dubcli.config.report_config import ReportConfig
from dubcli.config.settings_common import DEVICES, help_of
from dubcli.config.study_config import StudyConfig
from dubcli.config.sync_train_config import SyncTrainConfig
from dubcli.config.tables_config import TablesConfig
from dubcli.config.train_config import TrainConfig

__all__ = [
    "BASELINES",
    "DEVICES",
    "EVALUATION_SETTINGS",
    "SYNC_MODES",
    "BatchConfig",
    "CompareConfig",
    "DubConfig",
    "EvaluateConfig",
    "FinetuneConfig",
    "OccluderTrainConfig",
    "PlanConfig",
    "PrepareConfig",
    "ReportConfig",
    "StudyConfig",
    "SyncTrainConfig",
    "TablesConfig",
    "TrainConfig",
    "Voice",
    "help_of",
    "voices_from",
]
