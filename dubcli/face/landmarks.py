"""Which points of the 478-point face mesh are kept, and what each group is for.

Index numbers are those of MediaPipe's face mesh. Every array of landmarks in the project holds
the points of `KEPT`, in that order; the slices below address groups inside it.
"""

from __future__ import annotations

import numpy as np

from dubcli.core.types import F32, Int

# Bone and skin that speech does not move: eye corners, bridge and tip of the nose, brow, temples.
_STABLE = (
    *(33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 8, 9, 151, 10, 109, 338, 67, 297),
    *(127, 356, 162, 389, 21, 251, 98, 327),
)
_LIPS_OUTER = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375),
    *(291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
)
_LIPS_INNER = (
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324),
    *(308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
# From ear to ear below the cheekbones, along the edge of the face.
_JAW = (
    *(454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234),
)
# Skin between lips and jaw that follows them.
_CHEEKS = (
    *(164, 18, 200, 199, 175, 83, 313, 182, 406, 201, 421, 43, 273, 106, 335, 202, 422),
    *(210, 430, 169, 394, 57, 287, 92, 322, 212, 432, 214, 434, 207, 427, 205, 425),
    *(187, 411, 147, 376, 50, 280, 165, 391),
)
_UPPER_OVAL = (332, 284, 54, 103)

KEPT: tuple[int, ...] = (
    *_STABLE,
    *_LIPS_OUTER,
    *_LIPS_INNER,
    *_JAW,
    *_CHEEKS,
    *_UPPER_OVAL,
)
NUM_KEPT = len(KEPT)

_ends = np.cumsum([len(g) for g in (_STABLE, _LIPS_OUTER, _LIPS_INNER, _JAW, _CHEEKS)])
STABLE = slice(0, int(_ends[0]))
LIPS_OUTER = slice(int(_ends[0]), int(_ends[1]))
LIPS_INNER = slice(int(_ends[1]), int(_ends[2]))
JAW = slice(int(_ends[2]), int(_ends[3]))
CHEEKS = slice(int(_ends[3]), int(_ends[4]))
# The points that speech moves: lips, jaw and the skin between them.
SPEAKING = slice(LIPS_OUTER.start, CHEEKS.stop)
NUM_SPEAKING = SPEAKING.stop - SPEAKING.start


def position(mesh_index: int) -> int:
    """Position in `KEPT` of a mesh point."""
    return KEPT.index(mesh_index)


EYE_CORNERS = tuple(position(index) for index in (33, 133, 362, 263))
INNER_TOP, INNER_BOTTOM = position(13), position(14)
MOUTH_LEFT, MOUTH_RIGHT = position(78), position(308)
CHIN = position(152)


def face_oval() -> Int:
    """Positions of the whole face outline, in order around the face. Shape (M,)."""
    around = (
        *(10, 338, 297, 332, 284, 251, 389, 356),
        *_JAW,
        *(127, 162, 21, 54, 103, 67, 109),
    )
    return np.array([position(index) for index in around])


def mirror_order() -> Int:
    """Positions that swap left and right points of a mirrored face. Shape (K,).

    Derived from the mesh's own symmetry: each pair is named once here.
    """
    pairs = {
        **{33: 263, 133: 362, 109: 338, 67: 297, 127: 356, 162: 389, 21: 251, 98: 327},
        **{54: 284, 103: 332},
        **dict(zip(_LIPS_OUTER[:11], _ring_mirror(_LIPS_OUTER)[:11], strict=True)),
        **dict(zip(_LIPS_OUTER[11:], _ring_mirror(_LIPS_OUTER)[11:], strict=True)),
        **dict(zip(_LIPS_INNER, _ring_mirror(_LIPS_INNER), strict=True)),
        **dict(zip(_JAW, reversed(_JAW), strict=True)),
        **{83: 313, 182: 406, 201: 421, 43: 273, 106: 335, 202: 422, 210: 430, 169: 394},
        **{57: 287, 92: 322, 212: 432, 214: 434, 207: 427, 205: 425, 187: 411, 147: 376},
        **{50: 280, 165: 391},
    }
    both = {**pairs, **{value: key for key, value in pairs.items()}}
    return np.array([position(both.get(index, index)) for index in KEPT])


def _ring_mirror(ring: tuple[int, ...]) -> tuple[int, ...]:
    """Mirror images of a 20-point lip ring that starts at one corner."""
    half = len(ring) // 2
    lower, upper = ring[: half + 1], ring[half:] + ring[:1]
    swapped = dict(zip(lower, reversed(lower), strict=True))
    swapped |= dict(zip(upper, reversed(upper), strict=True))
    return tuple(swapped[index] for index in ring)


def inter_ocular(landmarks: F32) -> F32:
    """Distance between the eye centres, in the landmarks' unit. (..., K, D) to (...)."""
    corners = landmarks[..., EYE_CORNERS, :]
    left, right = corners[..., :2, :].mean(-2), corners[..., 2:, :].mean(-2)
    return np.linalg.norm(left - right, axis=-1).astype(np.float32)


def mouth_open(landmarks: F32) -> F32:
    """Inner lip gap over inter-ocular distance. (..., K, D) to (...)."""
    gap = landmarks[..., INNER_TOP, :] - landmarks[..., INNER_BOTTOM, :]
    return (np.linalg.norm(gap, axis=-1) / inter_ocular(landmarks)).astype(np.float32)
