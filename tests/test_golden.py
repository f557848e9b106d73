"""The network, its losses, gradients and updates against values of the PyTorch release."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import compiler_options

from cddfuse_jax.models.cddfuse import MODULES, CDDFuse
from cddfuse_jax.release.comparison import MAX_FACTOR
from cddfuse_jax.training.losses import fusion_loss, reconstruction_loss
from cddfuse_jax.training.optimizers import adam, learning_rate
from cddfuse_jax.training.update import Stage, init_state, update
from cddfuse_jax.weights.torch_names import name_table, to_torch

pytestmark = [pytest.mark.slow, pytest.mark.optimized]

GOLDEN = Path(__file__).parent / "golden"
SIZES = ("odd", pytest.param("square", marks=pytest.mark.long))  # `square` is a batch
TORCH_MODULES = {
    "encoder": "DIDF_Encoder",
    "decoder": "DIDF_Decoder",
    "base_fusion": "BaseFuseLayer",
    "detail_fusion": "DetailFuseLayer",
}
STAGES = (
    Stage("reconstruction", reconstruction_loss, ("encoder", "decoder")),
    Stage("fusion", fusion_loss, MODULES),
)


@pytest.fixture(scope="module", params=["float32", pytest.param("float64", marks=pytest.mark.long)])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


@pytest.fixture(scope="module")
def params(dtype, release_params):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), release_params)


def compiled(function, dtype):
    """In float32 as for users; float64 is there to find a wrong constant, however compiled."""
    options = None if dtype == np.float32 else compiler_options()
    return jax.jit(function, compiler_options=options)


def nhwc(array: np.ndarray, dtype) -> jax.Array:
    return jnp.asarray(np.moveaxis(array, -3, -1), dtype)


def torch_tensors(params):
    """Yield (torch module, torch key, array in torch layout) of a tree like the params."""
    for entry in name_table(CDDFuse()):
        leaf = functools.reduce(lambda node, name: node[name], entry.path, params)
        yield entry.torch_module, entry.torch_key, to_torch(np.asarray(leaf), entry.layout)


def features_and_images(params, visible, infrared) -> dict[str, np.ndarray]:
    """Compute all that the golden files hold, NCHW, features thinned to every 16th channel."""

    def compute(params, visible, infrared):
        apply = functools.partial(CDDFuse().apply, {"params": params})
        results = {}
        for name, image in (("vis", visible), ("ir", infrared)):
            features = apply(image, method="encode")
            for kind, feature in zip(("base", "detail", "shallow"), features, strict=True):
                results[f"{name}_{kind}"] = feature
            results[f"recon_{name}"] = apply(image, method="reconstruct")
        results["fused_base"], results["fused_detail"] = apply(
            *((results[f"{side}_base"], results[f"{side}_detail"]) for side in ("vis", "ir")),
            method="fuse_features",
        )
        for residual, name in (("visible", "visible"), ("sum", "sum"), ("none", "no")):
            results[f"fused_{name}_residual"] = apply(
                visible, infrared, residual=residual, method="fuse"
            )
        return results

    arrays = {
        name: np.moveaxis(np.asarray(value), -1, 1)
        for name, value in compiled(compute, visible.dtype)(params, visible, infrared).items()
    }
    return {n: array[:, ::16] if array.shape[1] > 1 else array for n, array in arrays.items()}


def assert_equals_truth(results, truth, f32_error, dtype):
    for name, result in results.items():
        bound = MAX_FACTOR * float(f32_error(name)) if dtype == np.float32 else 1e-12
        error = np.abs(result - truth(name)).max()
        assert error <= bound, f"{name}: off by {error:.2e}, at most {bound:.2e} is allowed"


@pytest.fixture(scope="module", params=SIZES)
def forward(request, params, dtype):
    """Return the size's name and what this package computes for its pair."""
    golden = np.load(GOLDEN / "forward.npz")
    images = (nhwc(golden[f"{request.param}/{name}"], dtype) for name in ("vis", "ir"))
    return request.param, features_and_images(params, *images)


def test_features_and_images(forward, dtype):
    size, results = forward
    golden = np.load(GOLDEN / "forward.npz")
    assert len(results) == 13
    assert_equals_truth(
        {n: r[..., ::3, ::3] if r.shape[1] > 1 else r for n, r in results.items()},
        lambda name: golden[f"{size}/truth/{name}"],
        lambda name: golden[f"{size}/f32_error/{name}"],
        dtype,
    )


def test_whole_features_and_images(forward, dtype, golden):
    size, results = forward
    whole = np.load(golden / f"forward_{size}.npz")
    assert_equals_truth(
        results,
        lambda name: whole[f"truth/{name}"],
        lambda name: whole[f"f32_error/{name}"],
        dtype,
    )


@pytest.mark.parametrize(
    ("dtype", "stage"),
    [
        ("float64", 2),
        *(pytest.param(*each, marks=pytest.mark.long) for each in (("float64", 1), ("float32", 2))),
    ],
    indirect=["dtype"],
)
def test_losses_and_gradients(params, dtype, stage):
    expected = json.loads((GOLDEN / "losses.json").read_text())[f"stage{stage}/f64"]
    golden = np.load(GOLDEN / "gradients.npz")
    visible, infrared = (nhwc(golden[name], dtype) for name in ("vis", "ir"))
    loss = compiled(jax.value_and_grad(STAGES[stage - 1].loss, has_aux=True), dtype)
    (total, parts), gradient = loss(params, visible, infrared)

    wide = dtype == np.float64
    for name, value in {**parts, "total": total}.items():
        assert float(value) == pytest.approx(expected[name], rel=1e-6 if wide else 5e-6), name
    assert {*parts, "total"} == {name for name in expected if not name.startswith("grad_norm")}

    checked = 0
    for module, key, array in torch_tensors(gradient):
        name = f"stage{stage}/{module}.{key}"
        if name not in golden:  # stage I: the fusion layers do not train
            assert not array.any()
            continue
        norm = float(golden[f"norm/{name}"])
        flat = array.ravel()
        entries = flat[np.linspace(0, flat.size - 1, min(16, flat.size)).astype(int)]
        bound = (1e-6 if wide else 5e-4) * norm
        assert np.abs(entries - golden[name]).max() <= bound, name
        assert abs(np.linalg.norm(flat) - norm) <= bound, name
        checked += 1
    assert checked == {1: 136, 2: 158}[stage]


@pytest.mark.long
def test_trajectory(params, dtype):
    """18 updates through both stages, as the release's training loop makes them."""
    golden = np.load(GOLDEN / "trajectory.npz")
    records = json.loads((GOLDEN / "trajectory.json").read_text())
    visible, infrared = (nhwc(golden[name], dtype) for name in ("vis", "ir"))
    optimizers = dict.fromkeys(MODULES, adam(learning_rate(steps_per_epoch=3, decay_epochs=2)))
    updates = [
        compiled(functools.partial(update, stage=stage, optimizers=optimizers), dtype)
        for stage in STAGES
    ]
    state = init_state(params, optimizers)
    for record in records["f64"]:
        batch = record["batch"]
        state, metrics = updates[record["stage"] - 1](state, visible[batch], infrared[batch])
        loss_bound = 5e-6 if dtype == np.float32 else 1e-6
        assert float(metrics["total"]) == pytest.approx(record["loss"], rel=loss_bound)
        trained = STAGES[record["stage"] - 1].modules
        assert {name for name in metrics if name.startswith("lr/")} == {f"lr/{m}" for m in trained}
        for module in trained:
            exact = np.float32(record["lr"][TORCH_MODULES[module]])
            assert np.float32(metrics[f"lr/{module}"]) == exact

    if dtype == np.float64:
        for module, key, array in torch_tensors(state.params):
            first = array.ravel()[:16]
            assert np.abs(first - golden[f"final/{module}.{key}"]).max() < 1e-8, (module, key)
            norm = float(golden[f"final_l2/{module}.{key}"])
            assert np.linalg.norm(array) == pytest.approx(norm, rel=1e-8)
