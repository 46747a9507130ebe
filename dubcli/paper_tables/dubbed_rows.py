"""Rows that are dubs of the clips: by the model, by other tools, the truth; scored in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dubcli.core.errors import ConfigError
from dubcli.evaluation.measures import measures_of
from dubcli.evaluation.result_videos import find_results
from dubcli.evaluation.results import stamp
from dubcli.evaluation.run import evaluate
from dubcli.evaluation.settings import RECONSTRUCTION
from dubcli.evaluation.tables import Evaluation, MeanEstimate
from dubcli.models.paper_table import Dubbed, OtherTool
from dubcli.paper_tables.row_store import MadeRow, key_hash
from dubcli.paper_tables.row_work import RowWork

DubbedRecipe = Dubbed | OtherTool


def dubbed_key(recipe: DubbedRecipe, work: RowWork) -> dict[str, Any]:
    """What a row of dubs depends on.

    Raises:
        ConfigError: There are no clips, or no videos of another tool.
    """
    key = work.clips_key()
    if isinstance(recipe, OtherTool):
        config = work.evaluation(results=tuple(work.config.results))
        (videos,) = (one for one in find_results(config, work.clips, ()) if one.name == recipe.name)
        found = sorted(str(stamp(path)) for path in videos.of_item.values())
        mark = key_hash({"videos": found})
        return {**key, "videos": f"{len(found)} of '{videos.folder}' ({mark})"}
    if recipe.system:
        return {**key, "system": recipe.system}
    return {**key, **work.weights_key()}


def make_dubbed_rows(recipes: Sequence[DubbedRecipe], work: RowWork) -> list[MadeRow]:
    """Rows of several systems on the same clips; what was scored before is not scored again.

    Raises:
        DubError: Not one clip can be scored, or the results cannot be written.
    """
    tools = {one.name for one in recipes if isinstance(one, OtherTool)}
    baselines = [one.system for one in recipes if isinstance(one, Dubbed) and one.system]
    has_model = any(isinstance(one, Dubbed) and not one.system for one in recipes)
    config = work.evaluation(
        models=work.config.model if has_model else "",
        baselines=",".join(baselines),
        results=tuple(given for given in work.config.results if tool_of(given) in tools),
        overwrite=work.config.overwrite,
    )
    result = evaluate(config, work.progress, engine=work.engine)
    tell_failures(result, work)
    return [
        MadeRow(
            key=dubbed_key(recipe, work),
            figures=figures_of(result, _system(recipe, work)),
            facts={"clips": len({item.clip for item in result.items})},
        )
        for recipe in recipes
    ]


def tool_of(given: str) -> str:
    """The tool's name of `NAME=FOLDER`."""
    return given.partition("=")[0].strip()


def figures_of(result: Evaluation, system: str) -> Mapping[str, MeanEstimate]:
    """Every figure of a system's reconstructions."""
    return {
        measure.key: result.estimate(RECONSTRUCTION, system, measure.key)
        for measure in measures_of(RECONSTRUCTION)
    }


def tell_failures(result: Evaluation, work: RowWork) -> None:
    """Which clips were not scored, and why."""
    for what, why in result.failures.items():
        work.tell(f"warning: {what} was not scored: {why}")


def check_tools(config_results: Sequence[str], known: Sequence[str]) -> None:
    """Refuse videos of a tool that no table has a row of.

    Raises:
        ConfigError: No table has.
    """
    for given in config_results:
        if tool_of(given) not in known:
            raise ConfigError(
                f"No table has a row of '{tool_of(given)}'.",
                f"Known: {', '.join(dict.fromkeys(known))}.",
            )


def _system(recipe: DubbedRecipe, work: RowWork) -> str:
    """What the evaluation calls it."""
    if isinstance(recipe, OtherTool):
        return recipe.name
    return recipe.system or work.entry.name
