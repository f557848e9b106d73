"""Compare the port with a checkout of the PyTorch release, on the same weights and images.

    python -m cddfuse_jax.parity --release DIR --weights CDDFuse_IVF.pth [--vi A.png --ir B.png]

The release runs in float64, which is taken as the truth, and in float32; the port in float32 or as
``--precision`` says. Of every feature and image the largest absolute error of both is printed. The
port passes where its error is at most 1.5 times the release's own; where the release happens to be
all but exact, one float32 epsilon of the truth's largest value is granted. Exit code 0 if all
passes, 1 if not, 2 if the comparison cannot be made. Needs the ``torch`` extra. The release runs on
the CPU, the port on JAX's device: on a TPU or an NVIDIA GPU parity needs ``--precision highest``.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cddfuse_jax import console
from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.files import check_outputs, replacing
from cddfuse_jax.images import image_files, pair_photos, pairs
from cddfuse_jax.models.options import PRECISIONS, Precision
from cddfuse_jax.runtime.program import start
from cddfuse_jax.scenes.pairs import synthetic_pair

FACTOR = 1.5
FLOOR = float(np.finfo(np.float32).eps)
# By name, what the decoder adds: of the network's parts composed here, and of the network's `fuse`,
# which is what the commands run.
FUSED = {
    "fused_visible_residual": "visible",
    "fused_sum_residual": "sum",
    "fused_no_residual": "none",
}
SHIPPED = {f"fuse_{residual}": residual for residual in FUSED.values()}
_STUBS = ("timm", "timm.models", "timm.models.layers")


class Comparison(NamedTuple):
    """How far a feature or an image is from the truth, here and in the release's own float32.

    Errors are maximum absolute differences over all numbers; ``largest`` is the truth's largest
    absolute value.
    """

    name: str
    port_error: float
    release_error: float
    largest: float

    @property
    def passes(self) -> bool:
        """Tell whether the port is as near to the truth as float32 lets one expect; NaN is not."""
        return self.port_error <= max(FACTOR * self.release_error, FLOOR * self.largest)


def compare(port: dict, release32: dict, truth: dict) -> list[Comparison]:
    """Compare features and images of one name and shape, in the order of ``truth``."""

    def error(array, expected):
        if array.shape != expected.shape:
            return float("inf")
        return float(np.abs(np.asarray(array, np.float64) - expected).max())

    return [
        Comparison(
            name,
            error(port[name], expected),
            error(release32[name], expected),
            float(np.abs(expected).max()),
        )
        for name, expected in truth.items()
    ]


def table(comparisons: list[Comparison]) -> str:
    """Return one line per feature and image, and the verdict as the last one."""
    lines = [f"{'':24}{'port error':>12}{'release float32':>17}{'ratio':>8}"]
    for row in comparisons:
        ratio = row.port_error / row.release_error if row.release_error else float("nan")
        verdict = "" if row.passes else "  too far"
        lines.append(
            f"{row.name:24}{row.port_error:12.2e}{row.release_error:17.2e}{ratio:8.2f}{verdict}"
        )
    far = [row.name for row in comparisons if not row.passes]
    if far:
        lines.append(f"NOT EQUAL: {len(far)} of {len(comparisons)} too far: {', '.join(far)}")
    else:
        lines.append(
            f"EQUAL: all {len(comparisons)} within {FACTOR}x the release's own float32 error"
        )
    return "\n".join(lines)


def run_port(
    params: Any, visible: np.ndarray, infrared: np.ndarray, precision: Precision = "float32"
) -> dict[str, np.ndarray]:
    """Return all features and images, (1, c, h, w), of a float32 pair (h, w) in [0, 1]."""
    from cddfuse_jax.models.cddfuse import CDDFuse
    from cddfuse_jax.models.precision import computing, features_dtype

    model = CDDFuse.from_params(params, dtype=features_dtype(precision))
    with computing(precision):
        return _run_model(model, params, visible, infrared)


def _run_model(model, params, visible, infrared) -> dict[str, np.ndarray]:
    import jax
    import jax.numpy as jnp

    from cddfuse_jax.models.cddfuse import select_residual

    # Apart, so that each is compiled once and not for every use.
    encode, fuse_features, decode = (
        functools.partial(
            jax.jit(functools.partial(model.apply, method=method)), {"params": params}
        )
        for method in ("encode", "fuse_features", "decode")
    )
    vis, ir = (np.asarray(image, np.float32)[None, :, :, None] for image in (visible, infrared))
    features = [jnp.split(feature, 2) for feature in encode(np.concatenate([vis, ir]))]
    result = _named(*features)
    base, detail = fuse_features(sum(features[0]), sum(features[1]))
    result |= {"fused_base": base, "fused_detail": detail}
    for name, residual in FUSED.items():
        result[name] = decode(base, detail, select_residual(residual, vis, ir))
    for i, (name, image) in enumerate((("recon_vis", vis), ("recon_ir", ir))):
        result[name] = decode(features[0][i], features[1][i], image)
    for name, residual in SHIPPED.items():
        fuse = jax.jit(functools.partial(model.apply, method="fuse", residual=residual))
        result[name] = fuse({"params": params}, vis, ir)
    return {name: np.asarray(array).transpose(0, 3, 1, 2) for name, array in result.items()}


def _where_it_runs(precision: Precision) -> str:
    import jax

    from cddfuse_jax.models.precision import computing

    with computing(precision):
        products = jax.config.jax_default_matmul_precision or "the backend's default"
    return f"port on {jax.default_backend()}, precision {precision}, products in {products}"


def _named(base, detail, shallow) -> dict[str, Any]:
    return {
        f"{modality}_{kind}": feature[i]
        for i, modality in enumerate(("vis", "ir"))
        for kind, feature in (("base", base), ("detail", detail), ("shallow", shallow))
    }


def load_release(folder: str | Path, params: Any) -> dict[str, Any]:
    """Build the four modules of a checkout of the release and give them ``params``.

    Nothing is written into the checkout, and modules that it imports without using are replaced by
    empty ones while it is imported.

    Returns:
        The torch modules by the names of their state dicts.

    Raises:
        InputError: PyTorch or einops is missing, or the checkout or the weights do not fit.
    """
    try:
        import einops  # noqa: F401
        import torch
    except ImportError as error:
        raise InputError(
            f"running the release needs PyTorch and einops ({error}): {install('torch')}"
        ) from None
    from cddfuse_jax.weights import torch_weights

    file = Path(folder) / "net.py"
    if not file.is_file():
        raise InputError(f"{folder}: no net.py there; give a checkout of the PyTorch release")
    try:
        with _importing():
            spec = importlib.util.spec_from_file_location("cddfuse_release_net", file)
            net = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(net)
        modules = {
            "DIDF_Encoder": net.Restormer_Encoder(),
            "DIDF_Decoder": net.Restormer_Decoder(),
            "BaseFuseLayer": net.BaseFeatureExtraction(dim=64, num_heads=8),
            "DetailFuseLayer": net.DetailFeatureExtraction(num_layers=1),
        }
    except (Exception, SystemExit) as error:  # it is foreign code: whatever it raises is the news
        reason = one_line(f"{type(error).__name__}: {error}")
        raise InputError(f"{file}: cannot be used as the release's network ({reason})") from None
    for name, tensors in torch_weights.state_dicts(params).items():
        state = {
            key.removeprefix("module."): torch.from_numpy(array.copy())
            for key, array in tensors.items()
        }
        try:
            modules[name].load_state_dict(state, strict=True)
        except RuntimeError as error:
            reason = one_line(error)
            raise InputError(f"the weights do not fit the network of {file}: {reason}") from None
        modules[name].eval()
    return modules


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Stand in for timm, and keep Python from writing bytecode into the checkout."""
    before = {name: sys.modules.get(name) for name in _STUBS}
    dont_write_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    for name in _STUBS:
        sys.modules[name] = _Stub(name)
    try:
        yield
    finally:
        sys.dont_write_bytecode = dont_write_bytecode
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


class _Stub(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def run_release(
    modules: dict[str, Any], visible: np.ndarray, infrared: np.ndarray, dtype: str
) -> dict[str, np.ndarray]:
    """Return all features and images of the release, run in ``float32`` or ``float64``.

    Arrays are (1, c, h, w); images are float32 (h, w) in [0, 1].
    """
    import torch

    from cddfuse_jax.models.cddfuse import select_residual

    encoder, decoder, base_fusion, detail_fusion = (
        modules[name].to(getattr(torch, dtype))
        for name in ("DIDF_Encoder", "DIDF_Decoder", "BaseFuseLayer", "DetailFuseLayer")
    )
    vis, ir = (
        torch.from_numpy(np.array(image, dtype))[None, None] for image in (visible, infrared)
    )
    with torch.inference_mode():
        features = [encoder(image) for image in (vis, ir)]
        result = _named(*zip(*features, strict=True))
        base = base_fusion(features[0][0] + features[1][0])
        detail = detail_fusion(features[0][1] + features[1][1])
        result |= {"fused_base": base, "fused_detail": detail}
        for name, residual in FUSED.items():
            result[name] = decoder(select_residual(residual, vis, ir), base, detail)[0]
        result["recon_vis"] = decoder(vis, *features[0][:2])[0]
        result["recon_ir"] = decoder(ir, *features[1][:2])[0]
        for name, fused in zip(SHIPPED, FUSED, strict=True):
            result[name] = result[fused]
    return {name: array.numpy() for name, array in result.items()}


def _read_pair(visible: str | None, infrared: str | None) -> tuple[np.ndarray, np.ndarray]:
    if not visible and not infrared:
        return synthetic_pair(0, 128, 128)
    if not visible or not infrared:
        raise InputError("--vi and --ir belong together: give both, or none for a synthetic pair")
    vis, ir = image_files.read_grey(visible), image_files.read_grey(infrared)
    pair = pairs.Pair(Path(visible).stem, Path(visible), Path(infrared))
    pair_photos.check_same_size(pair, vis, ir)
    if min(vis.shape) < 2:
        raise InputError(f"{visible}: images must be at least 2x2 pixels")
    return vis / np.float32(255), ir / np.float32(255)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison, print its table, and return the exit code."""
    parser = console.ArgumentParser(
        "python -m cddfuse_jax.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--release", required=True, metavar="DIR", help="checkout with net.py")
    parser.add_argument("--weights", required=True, metavar="W", help="a .pth file or a checkpoint")
    parser.add_argument("--vi", metavar="FILE", help="visible image (default: a synthetic pair)")
    parser.add_argument("--ir", metavar="FILE", help="infrared image of the same size")
    parser.add_argument("--json", metavar="FILE", help="write the table there as well")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of the port; on TPUs and NVIDIA GPUs only highest is float32 throughout",
    )
    console.add_overwrite(parser)
    options = parser.parse_args(arguments)

    from cddfuse_jax.weights.files import load_params

    if options.json:
        check_outputs([options.json], (), options.overwrite)
    pair = _read_pair(options.vi, options.ir)
    params = load_params(options.weights)
    modules = load_release(options.release, params)
    release32 = run_release(modules, *pair, "float32")
    truth = run_release(modules, *pair, "float64")
    comparisons = compare(run_port(params, *pair, options.precision), release32, truth)
    print(_where_it_runs(options.precision))
    print(table(comparisons))
    if options.json:
        with replacing(options.json) as file:
            file.write_text(json.dumps([row._asdict() for row in comparisons], indent=1) + "\n")
    return 0 if all(row.passes for row in comparisons) else 1


if __name__ == "__main__":
    start(main)
