#!/bin/bash
# Training on two machines of eight GPUs under Slurm: sbatch docs/pods/slurm.sh
# Not run. One task a GPU, which is what JAX takes from Slurm's variables. --signal sends SIGTERM
# two minutes before the time limit: the run saves and ends with 0.
# Submitted again, it goes on.
#SBATCH --job-name=cddfuse
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

data=/scratch/$USER/msrs.h5
workdir=/scratch/$USER/runs/ivf

srun --kill-on-bad-exit=1 python -m cddfuse_jax.train --config=ivf --workdir="$workdir" \
    --config.data.file="$data" --config.batch_size=16
