"""Which encoder writes a stream, in which pixel format, with which settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import av
from av.error import FFmpegError

from dubcli.core.errors import EncodeError
from dubcli.core.types import VideoStreamInfo
from dubcli.media.container.formats import Container, container_of, encoder_candidates
from dubcli.media.packet_copy.stream_match import StreamMatch
from dubcli.media.video.hdr import encoder_parameters

_MIN_SIDE = {"libx265": 64, "libsvtav1": 64}  # smaller pictures crash or are refused
_NEEDS_EVEN = ("libx264", "libx265")
_LOSSLESS = ("ffv1", "libx264", "libvpx-vp9")
_HOLDS_ALPHA = ("ffv1", "prores_ks", "png", "qtrle")
_SEMI_PLANAR = ("nv12", "nv16", "nv21", "nv20le")
# Options under which encoders take words of their own.
_PARAMETERS = {
    "libx264": "x264-params",
    "libx265": "x265-params",
    "libsvtav1": "svtav1-params",
}


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How frames are encoded.

    Attributes:
        output: Name of the final file; its extension decides which codecs may be used.
        crf: Quality on x264's scale, 0 to 51; 16 is visually lossless. Mapped for other encoders.
        lossless: Decode to exactly the frames that were written.
        encoder: Use this encoder instead of the one of the source's codec family.
        preset: Speed preset in the encoder's own words; None for a fast one.
        threads: Encoder threads, 0 for all cores.
        beside: The source's packets that the encoder's will stand beside; None where none are
            copied. For libx264 and libx265.
    """

    output: Path
    crf: int = 16
    lossless: bool = False
    encoder: str | None = None
    preset: str | None = None
    threads: int = 0
    beside: StreamMatch | None = None


def choose_encoder(stream: VideoStreamInfo, options: EncodeOptions) -> tuple[str, str, list[str]]:
    """Encoder and pixel format that keep the most of a stream.

    Args:
        stream: The source's video stream.
        options: Output name, lossless or not, forced encoder.

    Returns:
        Encoder, pixel format, and notes on what is not kept.

    Raises:
        EncodeError: The output's extension is not supported, or there is no such encoder.
    """
    container = container_of(options.output)
    candidates = encoder_candidates(stream.codec, container)
    if options.lossless:
        exact = [name for name in _LOSSLESS if name in container.encoders]
        candidates = (exact[0],)
    if options.encoder is not None:
        candidates = (options.encoder,)
    side = min(stream.width, stream.height)
    usable = [name for name in candidates if side >= _MIN_SIDE.get(name, 1)] or ["libx264"]
    choices = [(name, _pixel_format(name, stream, container)) for name in usable]
    source = _Layout.of(av.VideoFormat(stream.pix_fmt))
    # Of those that lose as little the first, which is nearest to the source's family.
    encoder, pix_fmt = min(
        choices, key=lambda choice: _Layout.of(av.VideoFormat(choice[1])).losses(source)
    )
    notes: list[str] = []
    if encoder != candidates[0]:
        reason = "small pictures" if candidates[0] not in usable else stream.pix_fmt
        notes.append(f"Video is encoded by {encoder}: {candidates[0]} cannot take {reason}.")
    if pix_fmt != stream.pix_fmt:
        size = f" at {stream.width}x{stream.height} px" if encoder in _NEEDS_EVEN else ""
        notes.append(
            f"Pixel format changed from {stream.pix_fmt} to {pix_fmt}: {encoder} cannot hold "
            f"{stream.pix_fmt}{size}."
        )
    return encoder, pix_fmt, notes + _losses(stream, encoder, pix_fmt)


def has_alpha(pix_fmt: str) -> bool:
    """Whether a pixel format has a sample of transparency for each pixel."""
    return any(part.is_alpha for part in av.VideoFormat(pix_fmt).components)


def _losses(stream: VideoStreamInfo, encoder: str, pix_fmt: str) -> list[str]:
    """Notes on what the result lacks or is, though nobody asked for it."""
    notes: list[str] = []
    codec = av.Codec(encoder, "w").canonical_name
    if codec != stream.codec:
        notes.append(f"The video is {codec} now; it was {stream.codec}.")
    if has_alpha(stream.pix_fmt) and not has_alpha(pix_fmt):
        notes.append(
            f"Transparency was dropped: {codec} cannot hold it here. Results in .mkv or .mov can, "
            "from VP8, VP9, ProRes 4444, PNG, QuickTime Animation or FFV1."
        )
    if any(stream.crop) and "vpx" in encoder and (encoder == "libvpx" or has_alpha(pix_fmt)):
        notes.append("What the container cropped is seen again: that mark is lost here.")
    for kind in stream.dynamic_hdr:
        notes.append(
            f"The {kind} metadata of each frame was dropped: it describes the frames as they were. "
            "Colours, transfer and mastering metadata are kept."
        )
    return notes


def _pixel_format(encoder: str, stream: VideoStreamInfo, container: Container) -> str:
    """The format nearest to the source's that an encoder takes at this size."""
    try:
        offered = av.Codec(encoder, "w").video_formats or []
    except (FFmpegError, ValueError) as error:
        raise EncodeError(
            f"The encoder '{encoder}' is not available.", "Leave the choice to the default."
        ) from error
    source = _Layout.of(av.VideoFormat(stream.pix_fmt))
    is_free = encoder in _HOLDS_ALPHA or ("vpx" in encoder and container.transparent_vpx)
    fitting = []
    for video_format in offered:
        if video_format.has_palette or min(part.bits for part in video_format.components) < 8:
            continue  # colours would be chosen anew in each frame
        layout = _Layout.of(video_format)
        if encoder in _NEEDS_EVEN and not layout.divides(stream.width, stream.height):
            continue
        if layout.name == stream.pix_fmt and (is_free or not layout.has_alpha):
            return layout.name
        special = layout.name in _SEMI_PLANAR or layout.has_alpha or layout.is_rgb
        if is_free or not special:
            fitting.append((layout.distance(source), layout.name))
    return min(fitting)[1]


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What distinguishes pixel formats: depth, subsampling (log2), colour model, alpha, range."""

    name: str
    bits: int
    shift_x: int
    shift_y: int
    is_rgb: bool
    is_gray: bool
    is_full_range: bool
    has_alpha: bool

    @classmethod
    def of(cls, video_format: Any) -> Self:
        parts = video_format.components
        is_rgb = bool(video_format.is_rgb or video_format.has_palette)
        return cls(
            name=video_format.name,
            bits=8 if video_format.has_palette else max(part.bits for part in parts),
            shift_x=(256 // video_format.chroma_width(256)).bit_length() - 1,
            shift_y=(256 // video_format.chroma_height(256)).bit_length() - 1,
            is_rgb=is_rgb,
            is_gray=len(parts) < 3 and not is_rgb,
            is_full_range=video_format.name.startswith("yuvj"),
            has_alpha=len(parts) in (2, 4),
        )

    def divides(self, width: int, height: int) -> bool:
        return width % (1 << self.shift_x) == 0 and height % (1 << self.shift_y) == 0

    def losses(self, source: Self) -> tuple[int, ...]:
        """Sorts by what is lost, the worst first; all 0 where nothing is."""
        return (
            source.is_gray is False and self.is_gray,
            self.is_full_range != source.is_full_range,
            max(0, source.bits - self.bits),
            max(0, self.shift_x - source.shift_x) + max(0, self.shift_y - source.shift_y),
            source.has_alpha and not self.has_alpha,
            self.is_rgb != source.is_rgb,
        )

    def distance(self, source: Self) -> tuple[int, ...]:
        """Sorts by what is lost first, then by what is added for nothing."""
        return (
            *self.losses(source),
            abs(self.bits - source.bits),
            abs(self.shift_x - source.shift_x) + abs(self.shift_y - source.shift_y),
            self.is_gray != source.is_gray,
            self.has_alpha != source.has_alpha,
        )


def encoder_settings(
    encoder: str, options: EncodeOptions, pix_fmt: str, stream: VideoStreamInfo
) -> dict[str, str]:
    """Private options of an encoder.

    Args:
        encoder: libav's name.
        options: What was asked for.
        pix_fmt: Pixel format that it encodes.
        stream: The source's: ProRes profile and mastering metadata are kept.

    Presets were chosen by encoded frames per second on one core at equal quality; CRF scales are
    matched by PSNR on talking heads.
    """
    crf, lossless = options.crf, options.lossless
    chosen: dict[str, str] = {}
    inner = dict(encoder_parameters(encoder, stream))
    threads = str(options.threads)
    if encoder == "libx264":
        chosen = {"preset": "veryfast", **({"qp": "0"} if lossless else {"crf": str(crf)})}
        if _has_avx512():
            # x264's macroblock tree reads memory that nobody wrote in its AVX-512 code: one of some
            # hundred encodes of the same frames came out otherwise. Its AVX2 code does not.
            inner["asm"] = "AVX2,FMA3,BMI2"
        if lossless or crf == 0:
            # Single samples of predicted frames come out one off in some videos; of frames on their
            # own none does.
            inner["keyint"] = "1"
        if options.beside is not None:
            chosen["profile"] = options.beside.profile
            inner |= options.beside.x264_parameters()
    elif encoder == "libx265":
        chosen = {"preset": "superfast", "crf": str(min(51, crf + 2))}
        inner |= {"log-level": "error"} | ({"pools": threads} if options.threads else {})
        if options.beside is not None:
            inner |= options.beside.x265_parameters()
    elif encoder == "libsvtav1":
        chosen = {"preset": "8", "crf": str(min(63, round(crf * 1.35)))}
        inner |= {"lp": threads} if options.threads else {}
    elif encoder == "libvpx-vp9":
        chosen = {"deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
        quality = {"b": "0", "crf": str(min(63, round(crf * 1.3)))}
        chosen |= {"lossless": "1"} if lossless else quality
    elif encoder == "libvpx":
        # VP8 obeys the quality only under a bit rate it never reaches.
        chosen = {"deadline": "realtime", "cpu-used": "4", "b": "100M", "qmin": "0"}
        chosen["crf"] = str(max(4, min(63, round(crf * 0.8))))
    elif encoder == "prores_ks":
        chosen = {"profile": _prores_profile(stream.profile, pix_fmt), "vendor": "apl0"}
    elif encoder == "ffv1":
        chosen = {"level": "3", "slices": "4", "g": "1"}
    if "vpx" in encoder and has_alpha(pix_fmt):
        chosen["auto-alt-ref"] = "0"  # hidden frames have no transparency beside them
    if inner:
        words = ":".join(f"{name}={value}" for name, value in inner.items())
        chosen[_PARAMETERS[encoder]] = words
    if options.preset is not None:
        chosen["cpu-used" if "vpx" in encoder else "preset"] = options.preset
    return chosen


@lru_cache(maxsize=1)
def _has_avx512() -> bool:
    """Whether x264 would take AVX-512; where the system does not say, no."""
    try:
        return "avx512bw" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def _prores_profile(source: str, pix_fmt: str) -> str:
    """The source's own profile where it has one that holds the pixel format."""
    if "444" in pix_fmt:
        return "4444xq" if source == "XQ" else "4444"
    return {"Proxy": "proxy", "LT": "lt", "Standard": "standard"}.get(source, "hq")
