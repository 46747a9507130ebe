"""What do copied packets save, and are they the source's? `copied_packets.py CLIP...`.

A second in the first quarter of each clip is dubbed with the model that needs no weights. A row of
Markdown a clip goes to stdout: how many packets were copied, how many of these frames decode to
what the source's do, in libav's decoder and in another one (OpenH264 or libde265), and what all
after the analysis took (trial, model, encoder, copying, joining). `--whole` dubs each once more
without copies and tells the same time of that. `--part S` dubs S seconds instead. `--film S` loops
the first clip to a film of S seconds first. `--model NAME` dubs with another model. Exit code 1
where a copied packet or frame differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av

import dubcli
from dubcli.config import DubConfig
from dubcli.core.reports import DubReport
from dubcli.media.container.ffmpeg import ffmpeg_binary
from dubcli.pipeline.run import dub

SPEECH = Path(dubcli.__file__).parent / "assets" / "demo_speech.wav"
_BEFORE = ("prepare", "analyse", "references")
sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

from libde265_decoder import find_libde265, libde265_digests  # noqa: E402

DECODERS = ("libav", "another")
_COLUMNS = (
    *("clip", "frames", "dubbed", "encoded", "copied", "same packets", "same in libav"),
    *("same in another", "s, copied", "s, whole", "share"),
    *("CPU s, copied", "CPU s, whole", "share"),
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A clip's results.

    Attributes:
        report: Of the dub with copies.
        seconds: After the analysis, with copies, and where that was wanted without.
        cpu: The same of processor time, of this process and of its children.
        packets: Packets that are the source's, at their times.
        frames: By decoder, frames of these packets that decode to the source's; None where the
            decoder is not there or does not take the clip.
    """

    report: DubReport
    seconds: tuple[float, ...]
    cpu: tuple[float, ...]
    packets: int
    frames: tuple[int | None, ...]

    @property
    def is_exact(self) -> bool:
        """Whether all that was copied is the source's."""
        counts = [self.packets, *(count for count in self.frames if count is not None)]
        return all(count == self.report.copied_packets for count in counts)


def main() -> int:
    """Compare every clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--part", type=float, default=1.0, help="seconds that are dubbed")
    parser.add_argument("--film", type=float, help="seconds of a film made of the first clip")
    parser.add_argument("--model", default="passthrough", help="another model")
    parser.add_argument("--whole", action="store_true", help="measure without copies too")
    job = parser.parse_args()
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}", flush=True)
    is_exact = True
    with tempfile.TemporaryDirectory(prefix="dub-bench-") as name:
        folder = Path(name)
        clips = job.clips if job.film is None else [_film(job.clips[0], job.film, folder)]
        for clip in clips:
            found = _compare(clip, job, folder)
            print(f"| {clip.stem} | {' | '.join(_cells(found))} |", flush=True)
            is_exact = is_exact and found.is_exact
    return 0 if is_exact else 1


def _film(clip: Path, seconds: float, folder: Path) -> Path:
    """The clip over and over, without encoding it again."""
    film = folder / f"film{clip.suffix}"
    words = ["-stream_loop", "-1", "-i", clip, "-t", str(seconds), "-c", "copy", film]
    subprocess.run([ffmpeg_binary(), "-nostdin", "-loglevel", "error", *words], check=True)
    return film


def _compare(clip: Path, job: argparse.Namespace, folder: Path) -> Comparison:
    with av.open(str(clip)) as container:
        start_s = (container.duration or 0) / av.time_base / 4
    results: list[tuple[Path, DubReport, float, float]] = []
    for copied in (True, False) if job.whole else (True,):
        output = folder / f"out-{copied}{clip.suffix}"
        config = DubConfig(
            video=clip,
            audio=SPEECH,
            output=output,
            model=job.model,
            device="cpu",
            start=f"{start_s:.3f}",
            end=f"{start_s + job.part:.3f}",
            reencode=not copied,
            overwrite=True,
            no_mark=True,
        )
        began, before = time.perf_counter(), _CpuBefore()
        report = dub(config, before.tell)
        taken = time.perf_counter() - began - sum(report.seconds[stage] for stage in _BEFORE)
        results.append((output, report, taken, _cpu_s() - before.cpu_s))
        print({name: round(value, 2) for name, value in report.seconds.items()}, file=sys.stderr)
    output, report, _, _ = results[0]
    seconds, cpu = tuple(one[2] for one in results), tuple(one[3] for one in results)
    same = [
        own == made for own, made in zip(stored_packets(clip), stored_packets(output), strict=True)
    ]
    frames = tuple(same_frames(clip, output, same, decoder) for decoder in DECODERS)
    return Comparison(report=report, seconds=seconds, cpu=cpu, packets=sum(same), frames=frames)


class _CpuBefore:
    """Processor time up to the end of the analysis; choosing references counts as after it."""

    cpu_s = 0.0

    def tell(self, stage: str, done: int, total: int) -> None:
        """Take the time at the last frame that is analysed."""
        if stage == "analyse":
            self.cpu_s = _cpu_s()


def _cpu_s() -> float:
    """Processor seconds of this process and of its children."""
    return sum(os.times()[:4])


def stored_packets(path: Path) -> list[tuple[float, bytes]]:
    """When each is shown, seconds to the millisecond, and its bytes, in order of presentation."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
        base = container.streams.video[0].time_base or 0
        return sorted(
            (round(float((packet.pts or 0) * base), 3), bytes(packet)) for packet in found
        )


def same_frames(source: Path, result: Path, copied: list[bool], decoder: str) -> int | None:
    """How many copied frames a decoder shows alike in two files; None where it shows not all."""
    shown = [_digests(path, decoder) for path in (source, result)]
    if any(len(digests) != len(copied) for digests in shown):
        return None
    return sum(c and own == made for c, own, made in zip(copied, *shown, strict=True))


def _digests(path: Path, decoder: str) -> list[str]:
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context.codec.canonical_name
    if decoder == "another" and codec == "hevc":
        library = find_libde265()
        return [] if library is None else libde265_digests(library, path)
    name = "libopenh264" if decoder == "another" else codec
    words = ["-c:v", name, "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough"]
    argv = [ffmpeg_binary(), "-nostdin", "-loglevel", "quiet", *words, "-f", "framemd5", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    return [line.split(",")[-1] for line in lines]


def _cells(found: Comparison) -> list[str]:
    report = found.report
    counts = ["none" if count is None else str(count) for count in found.frames]
    encoded = sum(one["frames"] for one in report.encoded_ranges)
    numbers = (report.frames, report.frames_dubbed, encoded, report.copied_packets, found.packets)
    cells = [*map(str, numbers), *counts, *_paces(found.seconds), *_paces(found.cpu)]
    reason = report.encoded_whole_because
    return cells if reason is None else [*cells, reason]


def _paces(taken: tuple[float, ...]) -> list[str]:
    """Seconds with copies and without, and their share."""
    first, *others = taken
    if not others:
        return [f"{first:.1f}", "not measured", "not measured"]
    return [f"{first:.1f}", f"{others[0]:.1f}", f"{first / others[0]:.1%}"]


if __name__ == "__main__":
    sys.exit(main())
