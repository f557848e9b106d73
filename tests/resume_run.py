"""A script of test_killed_runs.py: train until a step, in one of several processes or alone.

resume_run.py CONFIG.json WORKDIR STOP [--coordinator HOST:PORT --num_processes N --process_id I]
"""

import argparse
import json
import sys

import jax
from ml_collections import ConfigDict

from cddfuse_jax.training.distributed import Address, joined
from cddfuse_jax.training.run import train_and_evaluate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("workdir")
    parser.add_argument("stop", type=int)
    parser.add_argument("--coordinator")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    given = parser.parse_args()
    with open(given.config, encoding="utf-8") as file:
        config = ConfigDict(json.load(file))
    address = Address(given.coordinator, given.num_processes, given.process_id)
    with joined(address, ""):
        state = train_and_evaluate(config, given.workdir, lambda step: step == given.stop)
        print(int(state.step), jax.process_count(), jax.device_count(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
