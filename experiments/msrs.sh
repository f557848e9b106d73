#!/usr/bin/env bash
# From random weights towards the paper's table in about 70 minutes of two cores, in one command.
#
#   experiments/msrs.sh DATA OUT
#
# DATA  holds MSRS/train/{vi,ir} and RoadScene_train/{vi,ir} (pairs that are in no test set), and
#       TNO/{vi,ir} and RoadScene/{vi,ir}, which the result is scored on
# OUT   takes a folder for each part (the last holds the weights) and the scores
#
# Small windows first, because they make many updates in little time; larger ones then, because
# attention's sums over a whole image are others than over a window (docs/training.md). MSRS's 180
# pairs in experiments/splits/msrs_held_out.txt are held out. The same command goes on.
set -euo pipefail

data=${1:-} out=${2:-}
if [[ ! -d $data/MSRS/train/vi || ! -d $data/RoadScene_train/vi || -z $out ]]; then
    echo "error: DATA must hold MSRS/train/ and RoadScene_train/, got '$data'; OUT is needed" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)

part() {
    python -m cddfuse_jax.train --config="$repository/configs/msrs.py" --workdir="$out/$1" \
        --config.data.visible="$data/MSRS/train/vi,$data/RoadScene_train/vi" \
        --config.data.infrared="$data/MSRS/train/ir,$data/RoadScene_train/ir" \
        --config.held_out.names="$repository/experiments/splits/msrs_held_out.txt" "${@:2}"
}

part windows32
part windows64 --config.init_from="$out/windows32" --config.data.crop=64 \
    --config.fusion_epochs=3 --config.learning_rate.initial=1e-3 \
    --config.learning_rate.floor=1e-5 --config.learning_rate.warmup=50
python -m cddfuse_jax.score_weights --weights "$out/windows64" --data "$data" \
    --sets TNO RoadScene --out "$out/scores"
