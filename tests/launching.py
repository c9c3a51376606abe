"""The command line in processes of its own: one, or two started by accelerate's launcher."""

import os
import subprocess
import sys


def apple_seg(*arguments, **variables):
    """Run a command as a user would."""
    command = [sys.executable, "-m", "apple_seg", *map(str, arguments)]
    environment = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PATH": "/usr/bin:/bin"} | variables
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def launch(*arguments):
    """Start two processes; nothing on this machine need be a GPU."""
    options = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"
    options = [*options.split(), "--dynamo_backend", "no", "--main_process_port", "0"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    command = [*launcher, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
