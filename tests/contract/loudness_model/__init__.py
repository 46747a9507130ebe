"""Loudness: a mouth that opens with the sound. The model of docs/adding_a_model.md."""

from dubcli.models.architecture import Architecture

ARCHITECTURE = Architecture(
    name="loudness",
    network="loudness_model.network:Loudness",
    config="loudness_model.config:LoudnessConfig",
    options="loudness_model.options:LoudnessOptions",
    recipe="loudness_model.stages:RECIPE",
    stages={"motion": (), "picture": ()},
)
