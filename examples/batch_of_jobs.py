"""A job list with a worker process of its own, and what became of each row.

python examples/batch_of_jobs.py JOBS.csv [MODEL]
"""

import sys
from pathlib import Path

from dubcli import BatchConfig, RowResult, batch


def tell(result: RowResult) -> None:
    """Called as results come."""
    print(f"row {result.row}: {result.status} {result.error or result.output}")


def main(jobs: str, model: str = "iptalker") -> int:
    """Do the rows; 10 where some of them failed."""
    report = batch(BatchConfig(jobs=Path(jobs), set=(f"model={model}",)), on_result=tell)
    print(report.counts)
    return 0 if report.is_complete else 10


# Worker processes import this file: without this line each would begin the batch anew.
if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
