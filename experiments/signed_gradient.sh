#!/usr/bin/env bash
# How much of the gradient with its sign: the weights `small` trained on with each, equal updates.
#
#   experiments/signed_gradient.sh DATA OUT
#
# DATA  holds MSRS/train/{vi,ir} and RoadScene_train/{vi,ir}, and held/{MSRS,RoadScene}/{vi,ir} with
#       the held-out pairs that are scored: here every third of experiments/splits/msrs_held_out.txt
#       and every eleventh of RoadScene_train, none of which is trained on; held.txt has the names
#       of all that are held out
# OUT   takes a folder for each, with its scores
#
# 1,059 updates of one 64x64 window by Muon, on the held-out pairs' loss, scores and dots; some ten
# minutes each on one core. The same command goes on.
set -euo pipefail

data=${1:-} out=${2:-}
if [[ ! -d $data/MSRS/train/vi || ! -d $data/held/MSRS/vi || ! -f $data/held.txt || -z $out ]]; then
    echo "error: DATA must hold MSRS/train/, held/MSRS/ and held.txt, got '$data'; OUT is needed" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
for pair in 0:10 2.5:0 5:0 10:0 2:8 3:2 4:4 8:2; do # signed:unsigned
    run=$out/$pair
    [[ -f $run/scores/scores.json ]] && continue
    python -m cddfuse_jax.train --config="$repository/configs/msrs.py" --workdir="$run" \
        --config.init_from=small --config.data.crop=64 --config.fusion_epochs=1 \
        --config.data.visible="$data/MSRS/train/vi,$data/RoadScene_train/vi" \
        --config.data.infrared="$data/MSRS/train/ir,$data/RoadScene_train/ir" \
        --config.held_out.names="$data/held.txt" --config.ema=0.995 \
        --config.learning_rate.initial=1e-3 --config.learning_rate.floor=1e-5 \
        --config.learning_rate.warmup=30 --config.loss.signed_gradient="${pair%:*}" \
        --config.loss.fusion_gradient="${pair#*:}"
    python -m cddfuse_jax.score_weights --weights "$run" --sets MSRS RoadScene \
        --set MSRS="$data/held/MSRS" --set RoadScene="$data/held/RoadScene" --out "$run/scores"
done
