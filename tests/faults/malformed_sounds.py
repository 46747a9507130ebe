"""Named bad and extreme recordings, as `malformed.py` has them for videos."""

from __future__ import annotations

import math
import random
import struct

from bytes_of import noisy, wav_of, zeroed
from malformed import (
    ANY,
    MEDIA,
    OK,
    Case,
    cut,
    directory,
    edited,
    encoded,
    fifo,
    of_bytes,
    with_field,
)


def _floats(*values: float) -> bytes:
    return wav_of(struct.pack(f"<{len(values)}f", *values), bits=32, tag=3)


def _sounds() -> list[Case]:
    """Bad and extreme sound."""
    tone = [math.sin(place / 5) / 2 for place in range(7680)]
    cases = [
        Case("audio: no bytes", of_bytes("a.wav", b""), MEDIA, "is empty"),
        Case("audio: text", of_bytes("a.wav", b"La la la.\n" * 99), MEDIA, "a.wav"),
        Case("audio: zeros", of_bytes("a.mp3", bytes(9999)), MEDIA, "a.mp3"),
        Case(
            "audio: random bytes",
            of_bytes("a.mp3", random.Random(5).randbytes(9999)),
            MEDIA,
            "a.mp3",
        ),
        Case("audio: no samples", of_bytes("a.wav", wav_of(b"")), MEDIA, "a.wav"),
        Case("audio: one sample", of_bytes("a.wav", wav_of(b"\x00\x40")), ANY),
        Case("audio: one millisecond", of_bytes("a.wav", wav_of(b"\x00\x40" * 16)), ANY),
        Case("audio: silent", of_bytes("a.wav", wav_of(bytes(15360))), MEDIA, "is silent"),
        Case(
            "audio: not numbers",
            of_bytes("a.wav", _floats(*[math.nan] * 7680)),
            MEDIA,
            "no numbers",
        ),
        Case(
            "audio: some not numbers",
            of_bytes("a.wav", _floats(*[math.nan, *tone[1:]])),
            MEDIA,
            "no numbers",
        ),
        Case(
            "audio: one sample as large as numbers get",
            of_bytes("a.wav", _floats(*[3.39e38, *tone[1:]])),
            MEDIA,
            "no numbers",
        ),
        Case("audio: infinite", of_bytes("a.wav", _floats(*[math.inf, -math.inf] * 3840)), MEDIA),
        Case(
            "audio: a million times too loud",
            of_bytes("a.wav", _floats(*[1e6 * v for v in tone])),
            OK,
        ),
        Case("audio: no channels", with_field("speech.wav", "wav channels", 0), MEDIA),
        Case("audio: 65535 channels", with_field("speech.wav", "wav channels", 65535), MEDIA),
        Case(
            "audio: 64 channels",
            of_bytes("a.wav", wav_of(random.Random(6).randbytes(1 << 18), channels=64)),
            ANY,
        ),
        Case("audio: 0 Hz", with_field("speech.wav", "wav rate", 0), MEDIA),
        Case("audio: 1 Hz", of_bytes("a.wav", wav_of(b"\x00\x40\x00\xc0", rate=1)), ANY),
        Case("audio: 4 GHz", with_field("speech.wav", "wav rate", 0xFFFFFFFF), MEDIA),
        Case("audio: 2 GHz", with_field("speech.wav", "wav rate", 0x7FFFFFFF), MEDIA),
        Case(
            "audio: 8 bits at 8 kHz",
            encoded("a.wav", "-ar", "8000", "-c:a", "pcm_u8", source="speech.wav"),
            OK,
        ),
        Case("audio: 192 kHz", encoded("a.wav", "-ar", "192000", source="speech.wav"), OK),
        Case("audio: 7.1", encoded("a.flac", "-ac", "8", source="speech.wav"), OK),
        Case("audio: 0 bits", with_field("speech.wav", "wav bits", 0), ANY),
        Case("audio: 33 bits", with_field("speech.wav", "wav bits", 33), ANY),
        Case("audio: block of 0 bytes", with_field("speech.wav", "wav block", 0), ANY),
        Case("audio: claims 4 GB", with_field("speech.wav", "wav length", 0xFFFFFFFF), OK),
        Case("audio: claims nothing", with_field("speech.wav", "wav length", 0), ANY),
        Case("audio: head of a wav", edited("speech.wav", lambda data: data[:30]), MEDIA),
        Case("audio: half a sample", edited("speech.wav", lambda data: data[:-1]), OK),
        Case("audio: half an mp3", cut("speech.mp3", 0.5), OK),
        Case("audio: mp3 of noise", edited("speech.mp3", lambda data: noisy(data, 0.2, 0.9)), ANY),
        Case(
            "audio: ogg with a hole",
            edited("speech.ogg", lambda data: zeroed(data, 0.8, 0.85)),
            ANY,
        ),
        Case("audio: ogg head only", cut("speech.ogg", 0.3), MEDIA),
        Case("audio: half an opus", cut("speech.opus", 0.5), ANY),
        Case("audio: half an m4a", cut("speech.m4a", 0.5), MEDIA),
        Case(
            "audio: flac with noise",
            edited("speech.flac", lambda data: noisy(data, 0.5, 0.6)),
            ANY,
        ),
        Case("audio: video without sound", edited("mute.mp4", bytes), MEDIA, "no audio stream"),
        Case("audio: a video", edited("face.mkv", bytes), OK),
        Case("audio: pipe", fifo, MEDIA, "not a regular file"),
        Case("audio: folder", directory, MEDIA, "is a directory"),
    ]
    return [
        Case(case.name, case.make, case.codes, case.named, case.options, is_audio=True)
        for case in cases
    ]


SOUNDS = _sounds()
