"""Talking Face Generation with Lip and Identity Priors (doi:10.1002/cav.70026)."""

from dubcli.models.architecture import Architecture

ARCHITECTURE = Architecture(
    name="lip-identity",
    network="dubcli.models.lip_identity.network:LipIdentity",
    config="dubcli.models.lip_identity.config:LipIdentityConfig",
    options="dubcli.models.lip_identity.options:LipIdentityOptions",
    recipe="dubcli.models.lip_identity.stages:RECIPE",
    tables="dubcli.models.lip_identity.paper_tables:TABLES",
    stages={"landmarks": (), "flow": (), "render": ("default", "sharp", "paper")},
)
