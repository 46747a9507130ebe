"""Which training clips may serve weights that are used at work, clip by clip.

    python tests/tools/clip_licences.py CATALOGUE -o docs/clip_licences.csv

Adds the columns `clip_licence`, of the footage itself, and `evidence`, quoted from the catalogue,
to the names of the clips of split `train`. A licence of the repository that passes a clip on, or of
metadata that point at it, admits none.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

FIELDS = ["file", "clip_licence", "is_free", "evidence"]
GRID = "CC BY 4.0 (GRID corpus)"
NOT_STATED = "not stated"
# What the catalogue says of a data set, and the terms that this means for its clips.
TERMS = {
    "LRS3-TED clip": "CC BY-NC-ND 4.0",
    "mTEDx clip": "CC BY-NC-ND 4.0",
    "TEDx source video": "CC BY-NC-ND 4.0",
    "TalkVid sample": "CC BY-NC 4.0",
    "CelebV-HQ/CelebV-Text clip": "research only",
    "CC-BY-NC": "non-commercial",
}
# Repositories whose clips are all of the GRID corpus, and how its clips are named.
GRID_REPOSITORY = "osalinasv/lipnet"
GRID_MARKS = ("GRID corpus", "grid_")
MEAD = "mead_"


def main() -> None:
    """Write the table and print how many clips are free."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    job = parser.parse_args()
    with job.catalogue.open(newline="", encoding="utf-8") as file:
        rows = [judged(row) for row in csv.DictReader(file) if row["split"] == "train"]
    with job.output.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"{sum(row['is_free'] == 'yes' for row in rows)} of {len(rows)} clips are free")


def judged(row: Mapping[str, str]) -> dict[str, str]:
    """The decision on a clip of the catalogue."""
    repository = row["source"].split(":")[0]
    told = f"{repository}: {row['repo_licence']}; {row['notes']}".rstrip("; ")
    licence = licence_of(row)
    return {
        "file": Path(row["file"]).name,
        "clip_licence": licence,
        "is_free": "yes" if licence == GRID else "no",
        "evidence": f"identity {row['identity']}; {told}",
    }


def licence_of(row: Mapping[str, str]) -> str:
    """Terms of the footage, as far as the catalogue tells them."""
    is_named = any(
        mark in text
        for mark in GRID_MARKS
        for text in (row["notes"], row["identity"], row["repo_licence"])
    )
    if is_named or row["source"].startswith(GRID_REPOSITORY):
        return GRID
    if row["identity"].startswith(MEAD):
        return "research only (MEAD)"
    return next((terms for mark, terms in TERMS.items() if mark in row["repo_licence"]), NOT_STATED)


if __name__ == "__main__":
    main()
