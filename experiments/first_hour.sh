#!/usr/bin/env bash
# A stranger's first hour, from a wheel, outside the clone: every step with its exit code and output.
#
#     experiments/first_hour.sh [PYTHON]
#
# Builds a wheel of this repository, installs it into a fresh virtual environment in a temporary
# folder, and does there what README and docs/fusing.md say, on drawn pairs. Ends at the first
# step that does not do what it should. Times and sizes: experiments/results/first_hour.json.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export JAX_COMPILATION_CACHE_DIR="$place/cache"
unset PYTHONPATH
cd "$place"

now() { date +%s.%N; }
since() { echo "$1 $(now)" | awk '{ printf "%.2f", $2 - $1 }'; }

# expect CODE PATTERN COMMAND...: the command ends with CODE, and says PATTERN in one of its lines.
steps=0
expect() {
    local code=$1 pattern=$2 got=0
    shift 2
    "$@" > said.txt 2>&1 || got=$?
    if [ "$got" != "$code" ] || ! grep -qE -- "$pattern" said.txt; then
        echo "FAILED: $*"; echo "wanted exit code $code and /$pattern/, got $got:"; cat said.txt
        exit 1
    fi
    if grep -q Traceback said.txt; then echo "FAILED, a traceback: $*"; cat said.txt; exit 1; fi
    steps=$((steps + 1))
    echo "ok ($got): $*"
}

# Install
"$python" -m venv build-venv && build-venv/bin/pip -q install build
build-venv/bin/python -m build -q --wheel --outdir wheel "$repository" > /dev/null
started=$(now)
"$python" -m venv venv && venv/bin/pip -q install wheel/*.whl
install=$(since "$started")
installed=$(du -sm venv | cut -f1)
own=$(du -sk venv/lib/python*/site-packages/cddfuse_jax | cut -f1)
PATH="$place/venv/bin:$PATH"

expect 0 '^cddfuse [0-9]' cddfuse --version
expect 0 'fuse' cddfuse --help
expect 0 'train' python -m cddfuse_jax --help
started=$(now)
expect 0 'examples:' cddfuse fuse --help
help=$(since "$started")

# Pairs
python - <<'EOF'
from pathlib import Path
import numpy as np
from PIL import Image
from cddfuse_jax.data.synthetic import synthetic_pair

def save(path, values, kind=np.uint8):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((values * np.iinfo(kind).max).astype(kind)).save(path)

for n in range(4):
    visible, infrared = synthetic_pair(n, 256, 256)
    save(f"vi/{n}.png", visible), save(f"ir/{n}.png", infrared)
    save(f"mixed/FLIR_{n:04}_V.jpg", visible), save(f"mixed/FLIR_{n:04}_T.jpg", infrared)
    save(f"sub/visible/{n}.png", visible), save(f"sub/thermal/{n}.png", infrared)
save("deep.png", infrared, np.uint16)
save("shifted.png", 1 - np.roll(visible, (9, -14), (0, 1)))
save("visible.png", visible)
rgb = np.stack([(infrared * 255).astype(np.uint8)] * 3, -1)
rgb[..., 2] //= 2
Image.fromarray(rgb).save("ironbow.png")
Path("mixed/a.heic").touch()
EOF

started=$(now)
expect 0 '1 fused, 0 failed' cddfuse fuse --vi vi/0.png --ir ir/0.png --out cold.png
cold=$(since "$started")
started=$(now)
expect 0 '1 fused, 0 failed' cddfuse fuse --vi vi/0.png --ir ir/0.png --out warm.png
warm=$(since "$started")
cmp cold.png warm.png
expect 0 '4 fused, 0 failed' python -m cddfuse_jax.fuse --vi vi --ir ir --out fused
expect 2 'same folder for both sides' cddfuse fuse --vi vi --ir vi --out same
expect 2 'same file for both sides' cddfuse fuse --vi vi/0.png --ir vi/0.png --out same.png
expect 0 "pairs found by --pair '\{\}_V' '\{\}_T'" cddfuse fuse --vi mixed --ir mixed --out by-rule
expect 0 'skipped 1 .heic file' cddfuse fuse --vi mixed --ir mixed --pair '{}_V' '{}_T' --out given
cmp by-rule/FLIR_0000.png given/FLIR_0000.png
expect 0 '4 fused' cddfuse fuse --vi sub --ir sub --out from-subfolders
expect 0 'false colour' cddfuse fuse --vi vi/0.png --ir ironbow.png --out warned.png
expect 0 'seems shifted by 14 left and 9 down' cddfuse fuse --vi visible.png --ir shifted.png --out s.png
expect 0 'cropped to the 242x247 pixels' cddfuse fuse --vi visible.png --ir shifted.png --out aligned.png \
    --align
expect 0 '0 errors' cddfuse check_data --vi mixed --ir mixed

# Outputs
expect 0 '1 fused' cddfuse fuse --vi vi/0.png --ir deep.png --out grey.jpg
test -f grey.jpg
expect 0 '1 fused' cddfuse fuse --vi vi/0.png --ir deep.png --out deep.tif --format tif16
expect 0 '4 fused' cddfuse fuse --vi vi --ir ir --out as-jpeg --format jpg --quality 90
expect 2 'give --overwrite' cddfuse fuse --vi vi/0.png --ir ir/0.png --out grey.jpg
expect 2 'stored as PNG, JPEG or TIFF' cddfuse fuse --vi vi/0.png --ir ir/0.png --out a.webp
expect 2 'would overwrite an input' cddfuse fuse --vi vi/0.png --ir ir/0.png --out vi/0.png --overwrite
rm fused/2.png
expect 0 '1 fused, 3 skipped, 0 failed' cddfuse fuse --vi vi --ir ir --out fused --skip-existing \
    --log fused.jsonl
expect 130 'watched/3.png: fused in' timeout --preserve-status -s INT 40 cddfuse fuse --vi vi --ir ir \
    --out watched --watch
grep -q '"name": "2".*"weights": "ivf (' fused.jsonl
python -c "
from PIL import Image
text = Image.open('fused/2.png').text
assert text['Software'].startswith('cddfuse-jax') and 'weights ivf (' in text['Description'], text"
expect 2 'addresses are not read' cddfuse fuse --vi https://example.org/a.png --ir ir/0.png --out x.png
echo broken > broken.png
expect 1 '^error: .*broken.png: not an image' cddfuse fuse --vi broken.png --ir ir/0.png --out x.png
expect 2 'a folder for pictures' cddfuse decompose --vi vi/0.png --ir ir/0.png --out dec.png
expect 0 '1 done, 0 failed' cddfuse decompose --vi vi/0.png --ir ir/0.png --out taken-apart

# Reading what came out
mkdir decorated && for n in 0 1 2 3; do cp fused/$n.png decorated/${n}_ours.png; done
expect 0 'ours' cddfuse evaluate --vi vi --ir ir --fused ours=decorated --out scores
test -f scores/report.html

# Python
expect 0 'Fuser\(ivf \(' python -c "
from PIL import Image
from cddfuse_jax import Fuser
fuser = Fuser(device='cpu')
fused = fuser(Image.open('vi/0.png'), Image.open('ir/0.png'))
assert fused.shape == (256, 256), fused.shape
assert len(fuser.folder('vi', 'ir', 'python', progress=print)) == 4
print(fuser)"

# Retraining
expect 0 '^best: ' cddfuse train --config=roadscene --workdir=run \
    --config.data.visible=vi --config.data.infrared=ir --config.batch_size=2 \
    --config.data.crop=64 --config.model.features=8 --config.model.blocks=1 \
    --config.model.heads=2 --config.model.coupling_layers=1 \
    --config.reconstruction_epochs=1 --config.fusion_epochs=1 --config.held_out.every_nth=4 \
    --config.held_out.every=2
expect 0 '4 fused' cddfuse fuse --weights run --vi vi --ir ir --out by-my-own
expect 2 "batch_sise.*did you mean" cddfuse train --config=ivf --workdir=x --config.batch_sise=4

cat > "$repository/experiments/results/first_hour.json" <<EOF
{
  "script": "experiments/first_hour.sh",
  "python": "$(python -c 'import platform; print(platform.python_version())')",
  "jax": "$(python -c 'import importlib.metadata as m; print(m.version("jax"))')",
  "steps": $steps,
  "install_seconds": $install,
  "installed_megabytes": $installed,
  "own_kilobytes": $own,
  "help_seconds": $help,
  "first_pair_cold_seconds": $cold,
  "first_pair_warm_seconds": $warm
}
EOF
cat "$repository/experiments/results/first_hour.json"
