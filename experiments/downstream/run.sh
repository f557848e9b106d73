#!/usr/bin/env bash
# Does fusion help a segmenter? From MSRS's training pairs to tables, in one command.
#
#   experiments/downstream/run.sh DATA OUT [WEIGHTS [OPTION ...]]
#
# DATA     holds MSRS's training set: vi/, ir/ and Segmentation_labels/
# OUT      takes the halved and the fused images, the results and tables
# WEIGHTS  as for fuse; default: ivf, which was not trained on the pairs that are tested on
# OPTION   of segment.py, such as --updates 4000 or --seeds 0
#
# Trained on the 903 pairs of experiments/splits/msrs_train.txt and tested on the 180 of
# msrs_held_out.txt, at half resolution: the pairs are halved first and then fused. Three seeds of
# visible, infrared, mean, max and fused; the seeds one after the other, so that whenever it is
# stopped, all inputs are compared on as many. The same command goes on.
set -euo pipefail
export LC_ALL=C

data=${1:-} out=${2:-} weights=${3:-ivf}
if [[ ! -d $data/vi || ! -d $data/ir || ! -d $data/Segmentation_labels || -z $out ]]; then
    echo "error: DATA must hold vi/, ir/ and Segmentation_labels/, got '$data'; OUT is needed" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/../.." && pwd)
data=$(cd "$data" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
if [[ -e $weights ]]; then weights=$(realpath "$weights"); fi
cd "$repository"
export PYTHONPATH=$repository

for modality in vi ir; do
    python experiments/downstream/halve.py "$data/$modality" "$out/half/$modality"
done
python -m cddfuse_jax.fuse --weights "$weights" --vi "$out/half/vi" --ir "$out/half/ir" \
    --out "$out/ours" --skip-existing
python experiments/downstream/segment.py --vi "$out/half/vi" --ir "$out/half/ir" \
    --labels "$data/Segmentation_labels" --input visible infrared mean max "ours=$out/ours" \
    --train experiments/splits/msrs_train.txt --test experiments/splits/msrs_held_out.txt \
    --groups 'day=*D' 'night=*N' --seeds 0 1 2 --out "$out/segment" "${@:4}"
