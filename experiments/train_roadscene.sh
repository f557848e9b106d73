#!/usr/bin/env bash
# Train on RoadScene and score the result, from nothing to the tables, in slices of time.
#
#   experiments/train_roadscene.sh --data DIR --out DIR [--minutes N] [--config.FIELD=VALUE ...]
#
# --data     holds RoadScene_train/{vi,ir} and, for the scores, TNO, RoadScene, MRI_CT, MRI_PET
# --out      takes the run, its curve, its features' correlations and its scores
# --minutes  stops training after that time; the same command goes on from there, and so it does
#            after any other interruption
#
# Every 11th training pair (15 of 171) is held out and serves to choose between runs or steps; no test
# set is trained or chosen on. Exit code 75: not finished, give the command again.
set -euo pipefail
export LC_ALL=C

data='' out='' minutes='' options=()
while (($#)); do
    case $1 in
        --data) data=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        --minutes) minutes=$2; shift 2 ;;
        --config.*=*) options+=("$1"); shift ;;
        *) echo "error: unknown argument $1; the script's head shows its use" >&2; exit 2 ;;
    esac
done
if [[ ! -d $data/RoadScene_train/vi || ! -d $data/RoadScene_train/ir || -z $out ]]; then
    echo "error: --data must hold RoadScene_train/{vi,ir}, got '$data'; --out is needed" >&2
    exit 2
fi
repository=$(cd "$(dirname "$0")/.." && pwd)
data=$(cd "$data" && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$repository"
run=$out/run

for modality in vi ir; do
    mkdir -p "$out/pairs/train/$modality" "$out/pairs/held_out/$modality"
    number=0
    for file in "$data/RoadScene_train/$modality"/*; do
        number=$((number + 1))
        part=$([[ $((number % 11)) == 0 ]] && echo held_out || echo train)
        ln -sf "$file" "$out/pairs/$part/$modality/"
    done
done

limit=()
if [[ -n $minutes ]]; then limit=(timeout --preserve-status --signal=TERM "${minutes}m"); fi
# Stopped by SIGTERM, training saves and ends well; only at its end does it name the checkpoint.
"${limit[@]}" python -m cddfuse_jax.train --config=configs/roadscene.py --workdir="$run" \
    --config.data.visible="$out/pairs/train/vi" --config.data.infrared="$out/pairs/train/ir" \
    "${options[@]}" > "$out/trained.txt"
if ! grep -q '^checkpoint:' "$out/trained.txt"; then
    echo "not finished: give the same command again" >&2
    exit 75
fi

python experiments/training_curve.py "$run" "$out/curve"
for pairs in held_out TNO; do
    folder=$([[ $pairs == held_out ]] && echo "$out/pairs/held_out" || echo "$data/$pairs")
    if [[ -d $folder/vi && ! -f $out/$pairs.json ]]; then
        python experiments/follow_training.py "$run" \
            --vi "$folder/vi" --ir "$folder/ir" --out "$out/$pairs.json"
    fi
done
if [[ ! -f $out/scores/scores.md ]]; then
    python -m cddfuse_jax.score_weights --weights "$run" --data "$data" --out "$out/scores"
fi
cat "$out/scores/scores.md"
