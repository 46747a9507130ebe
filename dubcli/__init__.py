"""Visual dubbing: lips of a video that follow new audio.

The public names are loaded on first use: `import dubcli` reads no models and no media libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dubcli.core.waiting_threads import let_waiting_threads_sleep

if TYPE_CHECKING:
    from dubcli.batches.row_result import BatchReport, RowResult
    from dubcli.batches.run import batch
    from dubcli.config import BatchConfig, DubConfig, EvaluateConfig, FinetuneConfig, PlanConfig
    from dubcli.core.errors import DubError
    from dubcli.core.reports import DubReport, FinetuneReport
    from dubcli.evaluation.run import evaluate
    from dubcli.evaluation.tables import Evaluation
    from dubcli.personalize.run import finetune
    from dubcli.pipeline.engine import Engine
    from dubcli.pipeline.run import dub
    from dubcli.preview.plan_report import make_plan as plan
    from dubcli.preview.plan_types import PlanReport

__version__ = "0.1.0"
__all__ = [
    "BatchConfig",
    "BatchReport",
    "DubConfig",
    "DubError",
    "DubReport",
    "Engine",
    "EvaluateConfig",
    "Evaluation",
    "FinetuneConfig",
    "FinetuneReport",
    "PlanConfig",
    "PlanReport",
    "RowResult",
    "__version__",
    "batch",
    "dub",
    "evaluate",
    "finetune",
    "plan",
]

# Module and name there.
_HOMES = {
    "BatchConfig": ("dubcli.config", "BatchConfig"),
    "BatchReport": ("dubcli.batches.row_result", "BatchReport"),
    "DubConfig": ("dubcli.config", "DubConfig"),
    "DubError": ("dubcli.core.errors", "DubError"),
    "DubReport": ("dubcli.core.reports", "DubReport"),
    "Engine": ("dubcli.pipeline.engine", "Engine"),
    "EvaluateConfig": ("dubcli.config", "EvaluateConfig"),
    "Evaluation": ("dubcli.evaluation.tables", "Evaluation"),
    "FinetuneConfig": ("dubcli.config", "FinetuneConfig"),
    "FinetuneReport": ("dubcli.core.reports", "FinetuneReport"),
    "PlanConfig": ("dubcli.config", "PlanConfig"),
    "PlanReport": ("dubcli.preview.plan_types", "PlanReport"),
    "RowResult": ("dubcli.batches.row_result", "RowResult"),
    "batch": ("dubcli.batches.run", "batch"),
    "dub": ("dubcli.pipeline.run", "dub"),
    "evaluate": ("dubcli.evaluation.run", "evaluate"),
    "finetune": ("dubcli.personalize.run", "finetune"),
    "plan": ("dubcli.preview.plan_report", "make_plan"),
}


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that `import dubcli` stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dubcli' has no attribute {name!r}")
    let_waiting_threads_sleep()
    module, there = _HOMES[name]
    return getattr(import_module(module), there)


def __dir__() -> list[str]:
    return __all__
