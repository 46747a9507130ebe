"""A model without weights that returns its input."""

from dubcli.models.architecture import Architecture

ARCHITECTURE = Architecture(
    name="passthrough",
    network="dubcli.models.passthrough.network:Passthrough",
    config="dubcli.models.passthrough.network:PassthroughConfig",
)
