"""Does a second recogniser beside the shipped one help the lips? A ridge regression tells.

    python tests/bench/second_ear.py --train data/ --dev other-people/ --encoder model.bin \
        --videos . --catalogue catalogue.csv

Each layer of multilingual Whisper base in place of the shipped encoder and beside it, scored as by
`ridge.py`, by language. `--videos` is the folder from which the sets' sources count. What was heard
stays in `--cache`.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ridge import Row, ridge_row
from whisper_encoder import STEP, WhisperEncoder

from dubcli.audio.log_mel import HOP, SAMPLE_RATE
from dubcli.audio.speech_encoder import rows_at
from dubcli.core.errors import DubError
from dubcli.media.sound.waveform import read_waveform
from dubcli.training.data.prepared_clip import INDEX_NAME, ClipSound
from dubcli.training.data.train_clips import TrainClip, load_clips, with_sound

LAYERS = (2, 3, 4, 6)
GROUPS = ("English", "others", "unstated")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """Layers of clips by name, and of silence; and what hearing took per second of sound."""

    clips: dict[str, dict[int, np.ndarray]]
    silence: dict[int, np.ndarray]
    processor_s: float


def hear(folders: list[Path], encoder: WhisperEncoder, videos: Path, cache: Path) -> Heard:
    """Hear every clip with sound of its own that the cache does not hold."""
    cache.mkdir(parents=True, exist_ok=True)
    clips: dict[str, dict[int, np.ndarray]] = {}
    spent = seconds = 0.0
    for row in [row for folder in folders for row in _rows(folder / INDEX_NAME)]:
        if row["has_audio"] != "yes":
            continue
        file = cache / f"{row['clip']}.npz"
        if not file.is_file():
            samples = read_waveform(videos / row["source"], SAMPLE_RATE).samples
            began = time.process_time()
            layers = encoder.layers(samples)
            spent, seconds = (
                spent + time.process_time() - began,
                seconds + len(samples) / SAMPLE_RATE,
            )
            arrays: dict[str, Any] = {str(k): layers[k].astype(np.float16) for k in LAYERS}
            np.savez(file, **arrays)
        with np.load(file) as stored:
            clips[row["clip"]] = {k: stored[str(k)] for k in LAYERS}
    silence = encoder.layers(np.zeros(2 * SAMPLE_RATE, np.float32))
    return Heard(
        clips=clips,
        silence={k: silence[k].mean(0) for k in LAYERS},
        processor_s=spent / seconds if seconds else float("nan"),
    )


def with_layer(clips: list[TrainClip], heard: Heard, layer: int) -> list[TrainClip]:
    """Clips that also have the features `second`, at the steps of their own."""
    found: list[TrainClip] = []
    for clip in clips:
        num = len(clip.clip.sound("speech").version(0))
        values = heard.clips[clip.clip_id][layer].astype(np.float32)
        second = ClipSound(
            versions=rows_at(values, np.arange(num, dtype=np.float64) * (HOP / STEP)).astype(
                np.float16
            )[None],
            fill=heard.silence[layer].astype(np.float32),
        )
        prepared = replace(clip.clip, sounds={**clip.clip.sounds, "second": second})
        found.append(replace(clip, clip=prepared))
    return found


def line(row: Row, languages: dict[str, str]) -> str:
    """The row of a Markdown table: all, then by group of languages."""
    means = [np.mean(list(row.r.values()))]
    means += [np.mean([r for clip, r in row.r.items() if languages[clip] == g]) for g in GROUPS]
    return f"| {row.name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"


def main() -> None:
    """Hear, fit, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    sound_options(parser)
    parser.add_argument("--out", type=Path, help="file for all scores as JSON")
    job = parser.parse_args()
    try:
        train, dev = with_sound(load_clips(job.train)), with_sound(load_clips(job.dev))
        heard = hear([job.train, job.dev], WhisperEncoder(job.encoder), job.videos, job.cache)
        languages = languages_of(job.catalogue, dev)
        rows = [ridge_row(train, dev, "shipped encoder + log-mel", ("speech",))]
        print(f"{heard.processor_s:.3f} s of processor time per second of sound, all layers")
        print(f"| ridge on | all | {' | '.join(GROUPS)} |\n|---|---|---|---|---|")
        print(line(rows[0], languages), flush=True)
        for layer in LAYERS:
            sets = with_layer(train, heard, layer), with_layer(dev, heard, layer)
            for name, kinds in (("", ("second", "mel")), ("both, ", ("speech", "second"))):
                rows.append(ridge_row(*sets, f"{name}layer {layer}", kinds))
                print(line(rows[-1], languages), flush=True)
    except DubError as error:
        sys.exit(str(error))
    if job.out is not None:
        told = [{"name": row.name, "r": row.r, "spread": row.spread} for row in rows]
        job.out.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def sound_options(parser: argparse.ArgumentParser) -> None:
    """What both trials of encoders are told."""
    parser.add_argument("--train", type=Path, required=True, help="prepared set that is learned")
    parser.add_argument("--dev", type=Path, required=True, help="prepared set of other people")
    parser.add_argument("--encoder", type=Path, required=True, help="Whisper base, CTranslate2")
    parser.add_argument("--videos", type=Path, required=True, help="where sources count from")
    parser.add_argument("--catalogue", type=Path, required=True, help="CSV: file, language")
    parser.add_argument("--cache", type=Path, default=Path("heard"), help="folder for the layers")


def languages_of(catalogue: Path, dev: list[TrainClip]) -> dict[str, str]:
    """Group of each clip, by the column `language`."""
    stated = {Path(row["file"]).stem: row.get("language", "") for row in _rows(catalogue)}
    kinds = {"en": GROUPS[0], "": GROUPS[2]}
    return {clip.clip_id: kinds.get(stated.get(clip.clip_id, ""), GROUPS[1]) for clip in dev}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
