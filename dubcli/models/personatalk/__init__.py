"""PersonaTalk (arXiv:2409.05379): a person's own style of speaking, textures by attention."""

from dubcli.models.architecture import Architecture

ARCHITECTURE = Architecture(
    name="personatalk",
    network="dubcli.models.personatalk.network:PersonaTalk",
    config="dubcli.models.personatalk.config:PersonaTalkConfig",
    options="dubcli.models.personatalk.options:PersonaTalkOptions",
    recipe="dubcli.models.personatalk.stages:RECIPE",
    tables="dubcli.models.personatalk.paper_tables:TABLES",
    stages={"geometry": (), "render": ("default", "sharp", "paper")},
)
