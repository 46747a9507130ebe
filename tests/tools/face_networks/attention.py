"""The custom operators of the attention mesh, and how its six outputs become 478 points.

Around lips and eyes the network looks again: three crops of a feature map, placed by the first
468 points, go through networks of their own (Grishchenko et al. 2020, arXiv:2006.10962). A
crop's placement is a 4 x 4 matrix that takes crop coordinates to the map's; only its first two
rows, of which the third column is zero, matter.
"""

from __future__ import annotations

import numpy as np
from onnx_graph import GraphBuilder
from operators import Lowering
from tflite_graph import Graph, Operator

NUM_MESH, NUM_POINTS = 468, 478
_NUM_IRIS = 5
# The first points of an eye's region are its lids; their mean depth is that of the iris.
_NUM_LIDS = 16


def placement(lowering: Lowering, operator: Operator) -> str:
    """`Landmarks2TransformMatrix`: the upright box around some points. Shape (1, 4, 4).

    The box is upright where the line between two given points lies level.
    """
    build, options = lowering.builder, operator.options
    if options["target_rotation_radians"] != 0:
        raise ValueError("A target rotation is not converted here.")
    points = build.add(
        "Slice", lowering.value(operator.inputs[0]), build.ints(0), build.ints(2), build.ints(2)
    )
    points = build.add("Squeeze", points, build.ints(0))
    ends = [options["left_rotation_idx"], options["right_rotation_idx"]]
    left, right = (build.add("Gather", points, build.ints(end), axis=0) for end in ends)
    step = build.add("Sub", right, left)
    # Cosine and sine of the line's angle; no angle is needed.
    direction = build.add("Div", step, build.add("ReduceL2", step, axes=[1], keepdims=1))
    cosine, sine = (build.add("Gather", direction, build.ints(axis), axis=1) for axis in range(2))
    minus_sine = build.add("Neg", sine)
    to_picture = build.add(
        "Concat",
        build.add("Concat", cosine, minus_sine, axis=1),
        build.add("Concat", sine, cosine, axis=1),
        axis=0,
    )
    region = build.add("Gather", points, build.ints(*options["subset_idxs"]), axis=0)
    # Rows are points: the product with the rotation's matrix turns them back to level.
    level = build.add("MatMul", region, to_picture)
    high = build.add("ReduceMax", level, axes=[0], keepdims=1)
    low = build.add("ReduceMin", level, axes=[0], keepdims=1)
    centre = build.add("Mul", build.add("Add", low, high), build.floats(0.5))
    centre = build.add("MatMul", to_picture, build.add("Reshape", centre, build.ints(2, 1)))
    sides = (options["output_width"], options["output_height"])
    steps = (options["scale_x"] / sides[0], options["scale_y"] / sides[1])
    scale = build.add("Mul", build.add("Sub", high, low), build.floats(*steps))
    linear = build.add("Mul", to_picture, scale)
    middle = build.constant(np.array([[sides[0] / 2], [sides[1] / 2]], np.float32))
    shift = build.add("Sub", centre, build.add("MatMul", linear, middle))
    nothing = build.constant(np.zeros((2, 1), np.float32))
    rows = build.add("Concat", linear, nothing, shift, axis=1)
    rest = build.constant(np.eye(4, dtype=np.float32)[2:])
    whole = build.add("Concat", rows, rest, axis=0)
    return build.add("Unsqueeze", whole, build.ints(0))


def sample(lowering: Lowering, operator: Operator) -> str:
    """`TransformTensorBilinear`: the crop of a feature map, zero beyond it. (1, C, h, w)."""
    build = lowering.builder
    height, width = operator.options["output_height"], operator.options["output_width"]
    map_height, map_width = lowering.shape(operator.inputs[0])[1:3]
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    centres = np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float32)
    # Pixel k covers k to k + 1 in the matrix's coordinates, and lies at k in the map.
    places = _apply(build, build.constant(centres), lowering.value(operator.inputs[1]))
    places = build.add("Sub", places, build.floats(0.5))
    last = build.floats(map_width - 1, map_height - 1)
    is_inside = build.add(
        "And",
        build.add("GreaterOrEqual", places, build.floats(0.0)),
        build.add("LessOrEqual", places, last),
    )
    far = build.floats(-2.0)
    scaled = build.add(
        "Sub",
        build.add("Mul", places, build.floats(2 / (map_width - 1), 2 / (map_height - 1))),
        build.floats(1.0),
    )
    # One coordinate beyond -1 by more than a pixel: GridSample gives zero there.
    grid = build.add("Where", is_inside, scaled, far)
    grid = build.add("Reshape", grid, build.ints(1, height, width, 2))
    return build.add(
        "GridSample",
        lowering.value(operator.inputs[0]),
        grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=1,
    )


def place_back(lowering: Lowering, operator: Operator) -> str:
    """`TransformLandmarks`: points of a crop in the mesh's coordinates. Shape (1, N, 2)."""
    build = lowering.builder
    points = build.add("Squeeze", lowering.value(operator.inputs[0]), build.ints(0))
    moved = _apply(build, points, lowering.value(operator.inputs[1]))
    return build.add("Unsqueeze", moved, build.ints(0))


def _apply(build: GraphBuilder, points: str, matrix: str) -> str:
    """Points (N, 2) moved by the first two rows of a matrix (1, 4, 4). Shape (N, 2)."""
    rows = build.add("Slice", matrix, build.ints(0), build.ints(2), build.ints(1))
    rows = build.add("Squeeze", rows, build.ints(0))
    linear = build.add("Slice", rows, build.ints(0), build.ints(2), build.ints(1))
    shift = build.add("Slice", rows, build.ints(3), build.ints(4), build.ints(1))
    turned = build.add("MatMul", points, build.add("Transpose", linear, perm=[1, 0]))
    return build.add("Add", turned, build.add("Transpose", shift, perm=[1, 0]))


def join_points(lowering: Lowering) -> str:
    """The network's six point outputs as one list of 478. Shape (478, 3).

    Lips and eyes replace the mesh's own points in the plane and keep its depth; an iris has the
    mean depth of its eye's lids.
    """
    build, outputs = lowering.builder, lowering.graph.outputs
    regions = refined_regions(lowering.graph)
    flat = [build.add("Reshape", lowering.value(outputs[0]), build.ints(NUM_MESH, 3))]
    flat += [
        build.add("Reshape", lowering.value(number), build.ints(-1, 2)) for number in outputs[1:6]
    ]
    mesh_plane = build.add("Slice", flat[0], build.ints(0), build.ints(2), build.ints(1))
    plane = build.add("Concat", mesh_plane, *flat[1:], axis=0)
    source = np.arange(NUM_POINTS)
    first = NUM_MESH
    for region in regions:
        source[list(region)] = np.arange(first, first + len(region))
        first += len(region)
    plane = build.add("Gather", plane, build.constant(source), axis=0)
    depth = build.add("Slice", flat[0], build.ints(2), build.ints(3), build.ints(1))
    irises = []
    for lids in (region[:_NUM_LIDS] for region in regions[1:3]):
        mean = build.add(
            "ReduceMean",
            build.add("Gather", depth, build.ints(*lids), axis=0),
            axes=[0],
            keepdims=1,
        )
        irises.append(build.add("Expand", mean, build.ints(_NUM_IRIS, 1)))
    depth = build.add("Concat", depth, *irises, axis=0)
    return build.add("Concat", plane, depth, axis=1)


def refined_regions(graph: Graph) -> list[tuple[int, ...]]:
    """Mesh numbers of the points of lips, left eye, right eye, left iris and right iris.

    The file holds the first three: they are the points around which it looks again.
    """
    lips, left, right = (
        tuple(operator.options["subset_idxs"])
        for operator in graph.operators
        if operator.kind == "Landmarks2TransformMatrix"
    )
    irises = np.arange(NUM_MESH, NUM_POINTS).reshape(2, _NUM_IRIS).tolist()
    return [lips, left, right, *(tuple(iris) for iris in irises)]
