"""Several recordings for one video with models that are loaded once, after a look at the plan.

python examples/many_dubs.py VIDEO FOLDER MODEL AUDIO...
"""

import sys
from pathlib import Path

from dubcli import DubConfig, Engine, PlanConfig


def main(video: str, folder: str, model: str, *recordings: str) -> int:
    """Plan the first one, then dub all."""
    with Engine() as engine:
        plan = engine.plan(
            PlanConfig(
                video=Path(video),
                audio=Path(recordings[0]),
                model=model,
                picture=False,
                output=Path(folder) / "plan.mp4",
            )
        )
        print(f"{len(plan.faces)} faces; {plan.error or 'the dub can begin'}")
        for name in recordings:
            audio = Path(name)
            output = Path(folder) / f"{audio.stem}.mp4"
            config = DubConfig(video=Path(video), audio=audio, output=output, model=model)
            report = engine.dub(config)
            print(f"{output.name}: {report.frames_dubbed} frames dubbed")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
