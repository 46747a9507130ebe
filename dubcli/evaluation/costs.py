"""What a dub costs: processor time beside the least that any dub takes, and peak memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dubcli import __version__
from dubcli.config import DubConfig
from dubcli.core.errors import DubError
from dubcli.core.json_text import parse_json
from dubcli.evaluation.results import file_name, stamp, to_json, write_text
from dubcli.evaluation.source import Source
from dubcli.media.container.probe import require_video
from dubcli.media.video.frame_reader import FrameReader
from dubcli.media.video.frame_writer import EncodeOptions, FrameWriter
from dubcli.pipeline.engine import Engine

CPU_TIME, PEAK_MEMORY, WEIGHTS_SIZE = "cpu_per_frame", "peak_memory", "weights_size"
_STATUS = Path("/proc/self/status")
_OUTPUT = "memory.mp4"


@dataclass
class Spent:
    """Seconds of all threads of this process inside a `with`."""

    seconds: float = 0.0


@contextmanager
def processor_time() -> Iterator[Spent]:
    """Measure the processor time of what is done inside."""
    spent = Spent()
    began = time.process_time()
    try:
        yield spent
    finally:
        spent.seconds = time.process_time() - began


def preload(engine: Engine, models: Collection[str], device: str) -> None:
    """Load what a dub by models needs, so that its time is not counted.

    Raises:
        WeightsError: Weights are missing or damaged.
    """
    for model in models:
        loaded = engine.model(engine.resolve(model), engine.device(device))
        engine.recognisers([loaded.spec.audio.kind])
    engine.speech_detector()
    engine.segmenter()
    engine.recogniser()


def decode_and_encode(source: Source, folder: Path, threads: int = 0) -> float:
    """Processor seconds of decoding a clip and encoding its frames as a dub would.

    Nobody who changes pictures can be faster, and the file decides it, not the model.

    Raises:
        MediaError: It cannot be read or written.
    """
    path = folder / "floor.mov"
    options = EncodeOptions(output=folder / "floor.mp4", threads=threads)
    with (
        processor_time() as spent,
        FrameReader(source.clip.path, source.info, threads) as reader,
        FrameWriter(path, require_video(source.info), options) as writer,
    ):
        for native in reader.native_frames():
            writer.write(native.frame, native.pts)
    path.unlink()
    return spent.seconds


def measure_memory(config: DubConfig, sha256: str | None, stored: Path, *, anew: bool) -> float:
    """Peak of the resident memory of a dub in a process of its own, MiB.

    Args:
        config: The dub; its output is replaced by a temporary one.
        sha256: Of the weights.
        stored: Folder of what earlier runs measured of the same dub.
        anew: Measure again.

    Returns:
        NaN where the system does not tell, or the dub fails there.
    """
    video, audio = config.video, config.voices[0].audio
    models = {"motion": config.motion_model, "render": config.render_model}
    name = "+".join(dict.fromkeys(models.values()))
    path = stored / f"{file_name(video.stem, 'memory', name)}.json"
    fingerprint: dict[str, Any] = to_json(
        {"version": __version__, "clip": stamp(video), "weights": sha256, "threads": config.threads}
    )
    known = None if anew else _known(path, fingerprint)
    if known is not None:
        return known
    with tempfile.TemporaryDirectory(prefix=".dub-", dir=stored) as folder:
        fields = {"video": video, "audio": audio, "output": Path(folder) / _OUTPUT}
        fields |= {**models, "device": config.device, "detector": config.detector}
        words = {name: str(value) for name, value in fields.items()}
        argv = [sys.executable, "-m", __name__, json.dumps({**words, "threads": config.threads})]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        peak = float(done.stdout.split()[-1])
    except (IndexError, ValueError):
        return math.nan
    if done.returncode == 0 and math.isfinite(peak):
        write_text(path, json.dumps({"fingerprint": fingerprint, "peak_mib": peak}) + "\n")
    return peak


def _known(path: Path, fingerprint: dict[str, Any]) -> float | None:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return float(content["peak_mib"]) if content["fingerprint"] == fingerprint else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def peak_mib() -> float:
    """Highest resident memory of this process so far, MiB; NaN where the system does not tell."""
    # The other count, `getrusage`, begins at what the parent process had.
    if _STATUS.exists():
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        return int(found[0]) / 1024 if found else math.nan
    if sys.platform != "darwin":
        return math.nan
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Dub as the argument says (JSON), and print the peak of this process."""
    from dubcli.pipeline.run import dub

    stated = parse_json(sys.argv[1])
    paths = {name: Path(stated.pop(name)) for name in ("video", "audio", "output")}
    try:
        dub(
            DubConfig(
                **paths, **stated, face=1, sync_mode="pad", overwrite=True, allow_silence=True
            )
        )
    except DubError as error:
        sys.exit(str(error))
    print(f"{peak_mib():.1f}")


if __name__ == "__main__":
    main()
