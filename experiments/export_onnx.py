"""Export the fusing network to ONNX for one size of image, and compare it with ONNX Runtime.

    pip install -e . jax2onnx==0.17.1 onnxruntime        (in an environment of its own)
    python experiments/export_onnx.py --weights W --out model.onnx --height 480 --width 640

An environment of its own, because jax2onnx decides which JAX and ONNX go together. Tried with
jax2onnx 0.17.1, jax 0.10.2, onnx 1.23.2, onnxruntime 1.31.1. The size is fixed: with symbolic sides
that converter cannot trace the reflecting border of the detail branch. For any size use
python -m cddfuse_jax.export, whose file JAX runs.

The model maps visible and infrared, float32 (1, height, width) in [0, 1], to fused luma, neither
stretched nor coloured. It is written only if ONNX Runtime gives what JAX gives, within 1e-5 on a
drawn scene, on noise and on a flat pair.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from cddfuse_jax.console import ArgumentParser, run
from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.fusing.folder import refuse_existing
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.options import RESIDUALS
from cddfuse_jax.scenes.pairs import synthetic_pair
from cddfuse_jax.weights.files import load_params, trained_residual

LARGEST_ERROR = 1e-5  # of values in [0, 1]; an 8-bit image shows 4e-3


def pairs_to_compare(height: int, width: int) -> dict[str, np.ndarray]:
    """Return pairs, (2, height, width) each."""
    noise = np.random.default_rng(0).random((2, height, width), np.float32)
    return {
        "a drawn scene": np.stack(synthetic_pair(0, height, width)),
        "noise": noise,
        "a flat pair": np.full_like(noise, 0.5),
    }


def main() -> None:
    """Convert, compare, and only then write."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--weights", required=True, metavar="W")
    add("--out", required=True, type=Path, metavar="FILE")
    add("--height", required=True, type=int)
    add("--width", required=True, type=int)
    add("--residual", choices=RESIDUALS)
    add("--overwrite", action="store_true")
    given = parser.parse_args()
    if min(given.height, given.width) < 8:
        raise InputError(f"images are at least 8x8, got {given.width}x{given.height}")
    if not given.overwrite:
        refuse_existing([given.out])
    try:
        import onnxruntime
        from jax2onnx import to_onnx
    except ImportError as error:
        raise InputError(f"{error}; pip install jax2onnx==0.17.1 onnxruntime") from None

    params = jax.tree.map(jnp.asarray, load_params(given.weights))
    residual = given.residual or trained_residual(given.weights) or "visible"
    model = CDDFuse.from_params(params, remat=False)

    def fuse(visible, infrared):
        images = (x[..., None] for x in (visible, infrared))
        # Not `fuse`, which holds a form per platform: ONNX knows no platforms.
        fused = model.apply({"params": params}, *images, residual, method="fuse_with_features")
        return fused.image[..., 0]

    image = jax.ShapeDtypeStruct((1, given.height, given.width), jnp.float32)
    data = to_onnx(fuse, inputs=[image, image], model_name="cddfuse").SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    expected = jax.jit(fuse)
    worst = 0.0
    for name, pair in pairs_to_compare(given.height, given.width).items():
        inputs = [side[None] for side in pair]
        fused = session.run(None, dict(zip(names, inputs, strict=True)))[0]
        error = float(np.abs(fused - np.asarray(expected(*inputs))).max())
        print(f"{name}: ONNX Runtime and JAX differ by at most {error:.1e}")
        worst = max(worst, error)
    if not worst <= LARGEST_ERROR:
        raise InputError(f"not written: the ONNX model is off by {worst:.1e}")
    with replacing(given.out) as temporary:
        temporary.write_bytes(data)
    print(f"{given.out}: {len(data) / 1e6:.1f} MB, inputs {', '.join(names)}")


if __name__ == "__main__":
    run(main)
