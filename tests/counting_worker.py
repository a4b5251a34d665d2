"""`imagematch.tuning.worker_process`, which notes each epoch that it trains as a line of the file `COUNTED_EPOCHS`."""

import os
from pathlib import Path
from typing import Any

from imagematch.training import loop
from imagematch.tuning import worker_process


def main() -> None:
    """Works until the study is complete."""
    plain = loop._Run.validate

    def counting(self: Any, *arguments: Any, **options: Any) -> Any:
        record = plain(self, *arguments, **options)
        with Path(os.environ["COUNTED_EPOCHS"]).open("a") as file:
            file.write(f"{record['epoch']}\n")
        return record

    loop._Run.validate = counting
    worker_process.train_trials()


if __name__ == "__main__":
    main()
