"""G4G: fine-grained intra-modal alignment for talking faces (arXiv:2402.18122)."""

from dubcli.models.architecture import Architecture

ARCHITECTURE = Architecture(
    name="g4g",
    network="dubcli.models.g4g.network:G4G",
    config="dubcli.models.g4g.config:G4GConfig",
    options="dubcli.models.g4g.options:G4GOptions",
    recipe="dubcli.models.g4g.stages:RECIPE",
    tables="dubcli.models.g4g.paper_tables:TABLES",
    stages={
        "contrast": (),
        "render": ("default", "sharp", "paper", "no-contrast"),
        "blend": ("default", "sharp", "paper", "no-contrast"),
    },
)
