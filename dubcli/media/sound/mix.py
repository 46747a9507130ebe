"""Several recordings that sound together become one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from av.audio.codeccontext import AudioCodecContext
from av.audio.layout import AudioLayout

from dubcli.core.errors import ProbeError
from dubcli.media.container.ffmpeg import build_argv, ffmpeg_binary, file_url, graph, run
from dubcli.media.container.probe import find_audio_stream, open_media
from dubcli.media.sound.audio_track import HIGHEST_PEAK_DB, channel_filters, known_layout
from dubcli.media.sound.loudness import measure_loudness


def mix_recordings(
    paths: Sequence[Path], target: Path, scratch: Path, streams: Sequence[int] | None = None
) -> float:
    """Add recordings that begin together; the sum lasts as long as the longest.

    Rate and number of channels are the highest of them. None is made quieter than the others; if
    the sum would clip, all of it is.

    Args:
        paths: Two files or more, each with an audio stream.
        target: A `.flac` to write, 24 bit.
        scratch: A name for an intermediate file, removed at the end.
        streams: Index of the audio stream in each file; by default the first that has sound.

    Returns:
        How much quieter the sum was made, dB; 0 where it fits.

    Raises:
        MediaError: A file cannot be decoded, or the disk is full.
    """
    places = [None] * len(paths) if streams is None else list(streams)
    forms = [_form(path, index) for path, index in zip(paths, places, strict=True)]
    rate = max(rate for _, rate, _, _ in forms)
    _, layout = max((channels, layout) for _, _, channels, layout in forms)
    try:
        # Floating point first: a sum over full scale must still be whole when it is measured.
        _run(_sum(paths, forms, rate, layout), scratch, "matroska", "pcm_f32le")
        peak_db = measure_loudness(scratch).peak
        excess_db = peak_db - HIGHEST_PEAK_DB if peak_db > 0 else 0.0
        whole = graph.input(file_url(scratch))["a:0"]
        if excess_db:
            whole = whole.filter("volume", volume=f"{-excess_db:.3f}dB", precision="double")
        whole = whole.filter("asetpts", "N/SR/TB")
        _run(whole, target, "flac", "flac", sample_fmt="s32")
    finally:
        scratch.unlink(missing_ok=True)
    return excess_db


def _sum(
    paths: Sequence[Path], forms: Sequence[tuple[int, int, int, str]], rate: int, layout: str
) -> Any:
    parts: list[Any] = []
    for number, (path, (index, _, channels, own)) in enumerate(zip(paths, forms, strict=True)):
        # The library takes equal inputs for one, and no input feeds two filters: they differ.
        source = graph.input(file_url(path), thread_queue_size=64 + number)
        part = source[str(index)].filter("asetpts", "N/SR/TB")
        for name, settings in channel_filters(own, channels, layout):
            part = part.filter(name, **settings)
        parts.append(part.filter("aresample", rate))
    return graph.filter(parts, "amix", inputs=len(parts), duration="longest", normalize=0)


def _run(stream: Any, target: Path, muxer: str, encoder: str, **options: Any) -> None:
    output = graph.output(stream, file_url(target), f=muxer, acodec=encoder, **options)
    run(build_argv(ffmpeg_binary(), output))


def _form(path: Path, index: int | None) -> tuple[int, int, int, str]:
    """Index of the stream, its sample rate, number of channels and their layout."""
    with open_media(path) as container:
        stream = find_audio_stream(container) if index is None else container.streams[index]
        if stream is None:
            raise ProbeError(f"'{path}' has no audio stream.", "Give a file with sound.")
        context = stream.codec_context
        assert isinstance(context, AudioCodecContext)
        layout = known_layout(context.layout.name, context.channels)
        count = AudioLayout(layout).nb_channels
        return stream.index, context.sample_rate, count, layout
