"""A script of test_killed_runs.py: train until a step, in one of several processes or alone.

resume_run.py CONFIG.json WORKDIR STOP [--coordinator HOST:PORT --num_processes N --process_id I]
"""

import argparse
import json
import sys

import jax
from ml_collections import ConfigDict

from cddfuse_jax.distributed import address, processes
from cddfuse_jax.training.run import train_and_evaluate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("workdir")
    parser.add_argument("stop", type=int)
    address.add_options(parser)
    given = parser.parse_args()
    with open(given.config, encoding="utf-8") as file:
        config = ConfigDict(json.load(file))
    with processes.joined(address.given_address(given)):
        state = train_and_evaluate(config, given.workdir, lambda step: step == given.stop)
        print(int(state.step), jax.process_count(), jax.device_count(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
