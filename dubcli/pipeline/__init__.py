"""From files to a dubbed file: two passes over the video, every stage wired in one place."""

from dubcli.pipeline.dub import dub

__all__ = ["dub"]
