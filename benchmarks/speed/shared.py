"""A fit of the U-Net, to be started in one process or several: prints a row from the main one.

accelerate launch --multi_gpu --num_processes 2 -m benchmarks.speed.shared 512
"""

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from apple_seg.processes import launched
from benchmarks.speed.measure import VALIDATION, fit_subject
from benchmarks.speed.subjects import SUBJECTS, cohort


def main() -> None:
    """Fit for three epochs, and print the median epoch."""
    cases = int(sys.argv[1])
    processes = launched("cpu")
    subject = SUBJECTS["unet"]
    pipeline = subject.pipeline("all")
    folder = processes.from_main(lambda: tempfile.mkdtemp())
    train = cohort(cases, subject.size)
    result = fit_subject(subject, pipeline, train, "lean", "disk", 3, Path(folder))
    note = result.replay
    processes.wait()
    if processes.main:
        shutil.rmtree(folder)
    if processes.main and note is not None:
        row = {
            "host": "unet",
            "sites": "all",
            "perturber": "lean",
            "device": f"cpu, {torch.get_num_threads()} threads a process",
            "cases": cases,
            "replay_s": statistics.median(result.training_seconds),
            "record_s": note.record_seconds * cases / (cases + VALIDATION),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
