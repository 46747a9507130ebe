"""Do copied and encoded packets of real clips play as one? `spliced_clips.py CLIP...`.

Nobody is dubbed: the group of pictures in the middle of each clip is encoded as a dub would encode
it, all others are copied, and both are joined into one file. A row of Markdown a clip goes to
stdout: how many packets are the source's at their times, and how many of these frames decode to
what the source's do, in libav's decoder and in another one (OpenH264, libde265); or why nothing is
copied. `--keep FOLDER` keeps the files, for other players. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from copied_packets import DECODERS, same_frames, stored_packets

from dubcli.core.types import MediaInfo
from dubcli.media.container.concat import PictureClock, join_runs, run_of
from dubcli.media.container.ffmpeg import ffmpeg_binary, run
from dubcli.media.container.probe import probe, require_video
from dubcli.media.packet_copy.copy_plan import match_for, plan_ranges, require_same_times
from dubcli.media.packet_copy.packet_index import CopyRefusedError, read_index
from dubcli.media.packet_copy.spliced_sets import spliced_sets
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter

_LEAST = 16
_COLUMNS = ("clip", "frames", "encoded", "same packets", "same in libav", "same in another")


@dataclass(frozen=True, kw_only=True)
class Splicing:
    """One clip: its frames, how many were encoded, and how many of the others are the source's."""

    frames: int
    encoded: int
    packets: int
    decoded: tuple[int | None, ...]

    @property
    def is_exact(self) -> bool:
        """Whether all that was copied is the source's."""
        counts = [self.packets, *(count for count in self.decoded if count is not None)]
        return all(count == self.frames - self.encoded for count in counts)


def main() -> int:
    """Splice every clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the files")
    job = parser.parse_args()
    print(f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}", flush=True)
    is_exact = True
    with tempfile.TemporaryDirectory(prefix="dub-bench-") as name:
        for clip in job.clips:
            target = (job.keep or Path(name)) / f"{clip.stem}.spliced{clip.suffix}"
            try:
                found = _splice(clip, target, Path(name))
            except CopyRefusedError as refusal:
                print(f"| {clip.stem} | {refusal} |", flush=True)
                continue
            counts = ["none" if count is None else str(count) for count in found.decoded]
            numbers = (found.frames, found.encoded, found.packets, *counts)
            print(f"| {clip.stem} | {' | '.join(map(str, numbers))} |", flush=True)
            is_exact = is_exact and found.is_exact
    return 0 if is_exact else 1


def _splice(clip: Path, target: Path, folder: Path) -> Splicing:
    info = probe(clip)
    num, encoded = _join(info, folder / "picture.mov", folder)
    quiet = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-y", "-copyts"]
    run([*quiet, "-i", str(folder / "picture.mov"), "-c", "copy", str(target)])
    both = zip(stored_packets(clip), stored_packets(target), strict=True)
    same = [own == made for own, made in both]
    decoded = tuple(same_frames(clip, target, same, decoder) for decoder in DECODERS)
    return Splicing(frames=num, encoded=encoded, packets=sum(same), decoded=decoded)


def _join(info: MediaInfo, target: Path, folder: Path) -> tuple[int, int]:
    """Write the picture; returns how many frames it has, and how many were encoded."""
    video = require_video(info)
    index = read_index(info.path, video.index)
    num = len(index)
    touched = np.arange(num) == num // 2
    ranges = plan_ranges(touched, index, _LEAST)
    if not any(one.is_copied for one in ranges):
        raise CopyRefusedError("no whole group of pictures is free of dubbed frames")
    options = EncodeOptions(output=target, threads=1, beside=match_for(index))
    segment, parts = folder / "segment.mov", []
    with FrameReader(info.path, info, threads=1) as reader:
        for one in ranges:
            if one.is_copied:
                parts.append(index.run(one.start, one.stop))
                continue
            with FrameWriter(segment, video, options) as writer:
                for native in reader.native_frames(one.start, one.stop):
                    writer.write(native.frame, native.pts)
            parts.append(run_of(segment, like=segment))
    sets = spliced_sets(index.configuration, segment, video.sar)
    parts = [
        replace(part, rewrite=sets.rewrite) if part.path == segment else part for part in parts
    ]
    pts = np.sort(index.pts)
    require_same_times(index, pts)
    usual = round(1 / (video.frame_rate * video.time_base))
    clock = PictureClock(pts=pts, end_pts=int(pts[-1]) + usual, time_base=video.time_base)
    join_runs(parts, segment, target, clock, sets.extradata)
    return num, sum(len(one) for one in ranges if not one.is_copied)


if __name__ == "__main__":
    sys.exit(main())
