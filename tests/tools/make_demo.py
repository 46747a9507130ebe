"""Makes the clip and the recording that `dub demo` works on: `python tests/tools/make_demo.py`.

The portrait is NASA's photograph of the astronaut Eileen Collins (public domain), as carried by
scikit-image. Everything else, both voices included, is computed here, with no randomness that a
seed does not fix. It needs scikit-image and MediaPipe and takes two minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Colorspace
from demo_picture import Pose, load_portrait, render
from demo_speech import (
    SAMPLE_RATE_HZ,
    Sound,
    mouth_movement,
    synthesise,
    transcribe,
)
from numpy.typing import NDArray

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

ASSETS = Path(__file__).resolve().parents[2] / "dubcli" / "assets"
FRAME_RATE = 25
NUM_FRAMES = 125
SIZE = 480
MAX_BYTES = 1_000_000
PHOTO_SHA256 = "a8c429c18afa7b0fd5673e598d73a21225d94c864a71bbb3885126fdecb41071"
BT709 = 1  # number of the standard in H.264's colour tags

# "Hello. This is a short clip, made to show how dubbing works."
OWN_LINE = (
    "HH EH L OW1 . DH IH S IH Z AH SH AO1 R T K L IH1 P , "
    "M EY1 D T UW SH OW1 HH AW D AH1 B IH NG W ER1 K S"
)
# "Hello. This mouth now speaks new words, and you can hear them."
DRIVING_LINE = (
    "HH EH L OW1 . DH IH S M AW1 TH N AW S P IY1 K S N UW1 W ER1 D Z , "
    "AE N D Y UW K AE N HH IH1 R DH EH M"
)
OWN_SPEECH_S, OWN_START_S = 4.3, 0.35
DRIVING_SPEECH_S, DRIVING_PAUSE_S = 4.4, 0.1


def main() -> None:
    """Writes both files and says how large they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ASSETS, help="folder to write to")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    speech, clip = folder / "demo_speech.wav", folder / "demo.mp4"
    write_speech(speech)
    write_clip(clip)
    total = 0
    for path in (clip, speech):
        total += path.stat().st_size
        print(f"{path}: {path.stat().st_size} bytes")
    if total >= MAX_BYTES:
        sys.exit(f"{total} bytes together, {MAX_BYTES} is the limit: raise the CRF.")


def write_speech(path: Path) -> None:
    """The driving audio: one sentence, mono, 16 bit."""
    pause = np.zeros(round(DRIVING_PAUSE_S * SAMPLE_RATE_HZ))
    voice = synthesise(transcribe(DRIVING_LINE, DRIVING_SPEECH_S))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(_to_int16(np.concatenate([pause, voice, pause])).tobytes())


def write_clip(path: Path) -> None:
    """The video: the portrait speaking another sentence, with its sound."""
    portrait = load_portrait(load_photo())
    sounds = transcribe(OWN_LINE, OWN_SPEECH_S)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["title"] = "Demonstration clip"
        container.metadata["comment"] = "Portrait: NASA, public domain. Motion and voice: computed."
        picture, sound = _add_video(container), _add_audio(container)
        for index, pose in enumerate(poses(sounds)):
            frame = av.VideoFrame.from_ndarray(render(portrait, pose, SIZE), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            frame.pts, frame.time_base = index, Fraction(1, FRAME_RATE)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        _encode_audio(container, sound, own_sound(sounds))


def load_photo() -> U8:
    """The astronaut photograph, checked, because lip edges were measured on it."""
    from skimage import data

    photo = np.ascontiguousarray(data.astronaut())
    if hashlib.sha256(photo.tobytes()).hexdigest() != PHOTO_SHA256:
        sys.exit("scikit-image carries another photograph than the one the lips were measured on.")
    return photo


def own_sound(sounds: list[Sound]) -> F64:
    """The clip's sound track, as long as the picture. Shape (n,)."""
    track = np.zeros(NUM_FRAMES * SAMPLE_RATE_HZ // FRAME_RATE)
    start = round(OWN_START_S * SAMPLE_RATE_HZ)
    voice = synthesise(sounds)
    track[start : start + len(voice)] = voice
    return track


def poses(sounds: list[Sound]) -> list[Pose]:
    """Face, head and camera of every frame."""
    times = np.arange(NUM_FRAMES) / FRAME_RATE
    mouth = _mouth_curves(sounds, times)
    blink = _blinks(times, (0.62, 2.36, 4.44))
    glide = _ease(times / times[-1])
    effort = np.convolve(np.pad(mouth[:, 0], 6, mode="edge"), np.ones(13) / 13, mode="valid")
    yaw = 1.5 * np.sin(2 * np.pi * times / 4.6 - 0.6) + 0.5 * np.sin(2 * np.pi * times / 1.9)
    pitch = 0.6 * np.sin(2 * np.pi * times / 3.1) + 2.5 * (effort - effort.mean())
    roll = 1.1 * np.sin(2 * np.pi * times / 4.1 + 0.4) + 0.3 * np.sin(2 * np.pi * times / 1.6)
    return [
        Pose(
            jaw=mouth[i, 0],
            closing=mouth[i, 1],
            rounding=mouth[i, 2],
            blink=blink[i],
            yaw_deg=yaw[i],
            pitch_deg=pitch[i],
            roll_deg=roll[i],
            centre=(222.0 + 7.0 * glide[i], 137.0 - 5.0 * glide[i]),
            view_width=272.0 - 18.0 * glide[i],
        )
        for i in range(NUM_FRAMES)
    ]


def _mouth_curves(sounds: list[Sound], times: F64) -> F64:
    """Mouth curves of the clip, at rest with nearly closed lips at both ends."""
    curves = mouth_movement(sounds, times, OWN_START_S)
    end = OWN_START_S + sum(s.duration_s for s in sounds)
    speaking = _ease((times - OWN_START_S + 0.16) / 0.16) * _ease((end + 0.2 - times) / 0.2)
    rest = np.array([0.0, 0.8, 0.0])
    return rest + (curves - rest) * speaking[:, None]


def _blinks(times: F64, starts_s: tuple[float, ...]) -> F64:
    """Lids fall in 0.1 s and rise in 0.18 s."""
    lids = np.zeros_like(times)
    for start in starts_s:
        since = times - start
        lids = np.maximum(lids, _ease(since / 0.1) * _ease((0.28 - since) / 0.18))
    return lids


def _ease(x: F64) -> F64:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _add_video(container: OutputContainer) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=FRAME_RATE)
    stream.width = stream.height = SIZE
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": "17", "preset": "veryslow", "threads": "1"}
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = 1
    return stream


def _add_audio(container: OutputContainer) -> av.AudioStream:
    stream = container.add_stream("aac", rate=SAMPLE_RATE_HZ)
    stream.layout = "mono"
    stream.bit_rate = 64_000
    return stream


def _encode_audio(container: OutputContainer, stream: av.AudioStream, samples: F64) -> None:
    frame = av.AudioFrame.from_ndarray(_to_int16(samples)[None], format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    frame.pts = 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _to_int16(samples: F64) -> NDArray[np.int16]:
    return np.rint(samples * 32767).astype(np.int16)


if __name__ == "__main__":
    main()
