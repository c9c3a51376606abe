"""Two processes, started by accelerate's launcher as a user would."""

import os
import subprocess
import sys


def launch(*arguments):
    """Start two processes; nothing on this machine need be a GPU."""
    options = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    options = [*options.split(), "--dynamo_backend", "no", "--main_process_port", "0"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    command = [*launcher, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
