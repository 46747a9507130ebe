"""IPTalker (arXiv:2501.04586)."""

from dubcli.models.architecture import Architecture

_LOSSES = ("default", "textured", "no-gan", "paper")
ARCHITECTURE = Architecture(
    name="iptalker",
    network="dubcli.models.iptalker.network:IPTalker",
    config="dubcli.models.iptalker.config:IPTalkerConfig",
    options="dubcli.models.iptalker.options:IPTalkerOptions",
    recipe="dubcli.models.iptalker.stages:RECIPE",
    tables="dubcli.models.iptalker.paper_tables:TABLES",
    stages={"geometry": (), "render": _LOSSES, "joint": _LOSSES},
)
