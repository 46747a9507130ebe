"""Several recordings that sound together become one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from av.audio.codeccontext import AudioCodecContext
from av.audio.layout import AudioLayout

from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.container.probe import open_media
from dubcli.media.sound.audio_track import channel_filters, known_layout
from dubcli.media.sound.loudness import measure_loudness

# The highest true peak that EBU R128 allows, dB over full scale.
_HIGHEST_PEAK_DB = -1.0


def mix_recordings(paths: Sequence[Path], target: Path, scratch: Path) -> float:
    """Add recordings that begin together; the sum lasts as long as the longest.

    Rate and number of channels are the highest of them. None is made quieter than the others; if
    the sum would clip, all of it is.

    Args:
        paths: Two files or more, each with an audio stream.
        target: A `.flac` to write, 24 bit.
        scratch: A name for an intermediate file, removed at the end.

    Returns:
        How much quieter the sum was made, dB; 0 where it fits.

    Raises:
        MediaError: A file cannot be decoded, or the disk is full.
    """
    forms = [_form(path) for path in paths]
    rate = max(rate for rate, _, _ in forms)
    _, layout = max((channels, layout) for _, channels, layout in forms)
    try:
        # Floating point first: a sum over full scale must still be whole when it is measured.
        _run(_sum(paths, rate, layout), scratch, "matroska", "pcm_f32le")
        peak_db = measure_loudness(scratch).peak
        excess_db = peak_db - _HIGHEST_PEAK_DB if peak_db > 0 else 0.0
        whole = graph.input(file_url(scratch))["a:0"]
        if excess_db:
            whole = whole.filter("volume", volume=f"{-excess_db:.3f}dB", precision="double")
        whole = whole.filter("asetpts", "N/SR/TB")
        _run(whole, target, "flac", "flac", sample_fmt="s32")
    finally:
        scratch.unlink(missing_ok=True)
    return excess_db


def _sum(paths: Sequence[Path], rate: int, layout: str) -> Any:
    parts: list[Any] = []
    for number, path in enumerate(paths):
        _, channels, own = _form(path)
        # The library takes equal inputs for one, and no input feeds two filters: they differ.
        source = graph.input(file_url(path), thread_queue_size=64 + number)
        part = source["a:0"].filter("asetpts", "N/SR/TB")
        for name, settings in channel_filters(own, channels, layout):
            part = part.filter(name, **settings)
        parts.append(part.filter("aresample", rate))
    return graph.filter(parts, "amix", inputs=len(parts), duration="longest", normalize=0)


def _run(stream: Any, target: Path, muxer: str, encoder: str, **options: Any) -> None:
    output = graph.output(stream, file_url(target), f=muxer, acodec=encoder, **options)
    run(build_argv(ffmpeg_binary(), output))


def _form(path: Path) -> tuple[int, int, str]:
    """Sample rate, number of channels and their layout."""
    with open_media(path) as container:
        context = container.streams.audio[0].codec_context
        assert isinstance(context, AudioCodecContext)
        layout = known_layout(context.layout.name, context.channels)
        return context.sample_rate, AudioLayout(layout).nb_channels, layout
