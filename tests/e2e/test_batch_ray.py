"""`dub batch --ray`: a cluster of several nodes on this machine, one of which is killed."""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from batch_jobs import TINY, done_in, job_list, statuses, tiny_media
from studio import face_clip, speech

from dubcli.batches.row_result import DONE, RowResult
from dubcli.batches.run import batch
from dubcli.config import BatchConfig
from dubcli.core.errors import ConfigError, DeviceError

IS_THERE = find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not IS_THERE, reason="the extra ray is not installed")
SHORT_JOBS, SEGMENT, LONG_FRAMES = 5, 16, 100
STORE_BYTES = 80_000_000


@pytest.mark.skipif(IS_THERE, reason="ray is installed")
def test_without_ray_the_extra_is_named() -> None:
    from dubcli.batches.ray_workers import connect

    with pytest.raises(ConfigError, match=r"dubcli\[ray\]"):
        connect("auto")


@needs_ray
def test_an_address_where_nobody_answers_is_one_line() -> None:
    from dubcli.batches.ray_workers import connect

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers
        port = taken.getsockname()[1]
        with pytest.raises(DeviceError, match="No Ray cluster answers"):
            connect(f"127.0.0.1:{port}")
    with pytest.raises(ConfigError, match="is no address"):
        connect("nowhere")
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@needs_ray
@pytest.mark.filterwarnings("ignore")  # of Ray's own code
def test_a_killed_node_loses_nothing_and_a_long_video_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The long video is rendered in parts by several actors: same bytes as by one process."""
    from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # a busy machine would not run them at all
    media = tiny_media(tmp_path)
    long = face_clip(tmp_path / "long.mp4", "scale=96:96", frames=LONG_FRAMES)
    said = speech(tmp_path / "long.wav", LONG_FRAMES / 25)
    own = {"video": str(media / "face.mp4"), "audio": str(media / "speech.wav")}
    rows = [{**own, "output": f"{number}.mp4"} for number in range(SHORT_JOBS)]
    rows += [{"video": str(long), "audio": str(said), "output": "long-out.mp4"}]
    rows += [{"video": "none", "audio": "none", "output": "none.mp4"}]
    jobs = job_list(tmp_path / "jobs.jsonl", rows)
    own_node = {"object_store_memory": STORE_BYTES}
    head = {"num_cpus": 0, "include_dashboard": False, **own_node}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes: list[Any] = []
    seen: list[RowResult] = []

    def lose_a_node(result: RowResult) -> None:
        seen.append(result)
        if len(seen) == 3:
            cluster.remove_node(nodes[0], allow_graceful=False)
            cluster.add_node(num_cpus=1, **own_node)

    config = BatchConfig(jobs=jobs, ray=cluster.address, workers=2, retries=2, set=TINY)
    try:
        nodes += [cluster.add_node(num_cpus=1, **own_node) for _ in range(2)]
        report = batch(config, on_result=lose_a_node, segment_frames=SEGMENT)
    finally:
        cluster.shutdown()
    assert statuses(report) == [DONE] * (SHORT_JOBS + 1) + ["failed"]
    done = [result.row for result in done_in(Path(report.path))]
    assert sorted(done) == list(range(1, SHORT_JOBS + 2))
    assert not list(tmp_path.glob("*.dubjob"))
    single = batch(
        BatchConfig(
            jobs=job_list(
                tmp_path / "single.jsonl", [{**rows[SHORT_JOBS], "output": "single.mp4"}]
            ),
            set=TINY,
        ),
        in_process=True,
        segment_frames=SEGMENT,
    )
    assert statuses(single) == [DONE]
    assert Path("single.mp4").read_bytes() == Path("long-out.mp4").read_bytes()
