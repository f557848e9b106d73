import atexit
import math
import os
import shutil
import tempfile
from pathlib import Path

# Runs that are stopped and resumed compile the same programs again. All processes share the folder:
# the programs that tests start and pytest-xdist's workers inherit it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    CACHE = tempfile.mkdtemp(prefix="cddfuse-jax-tests-")
    atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    # Nearly all time is the compiler's; see `pytest_runtest_setup`.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"

# Commands that tests call must not start their process again.
os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=0"

from jaxtyping import install_import_hook

# Every call of the package's functions is checked against the shapes in their signatures, in the
# process of the tests alone. Before anything imports the package.
install_import_hook("cddfuse_jax", "array_checks.check_arrays")

import jax
import numpy as np
import parts
import pytest
from jax._src import compiler
from programs import compiler_options
from pth_writer import write_pth
from stored import write_checkpoint

from cddfuse_jax import config as configs
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.training.run import train_and_evaluate
from cddfuse_jax.weights import any_format as files
from cddfuse_jax.weights import torch_names, torch_weights

ONES = ("weight", "scale", "temperature")  # params that are near 1, not near 0


def named(variable: str, what: str) -> Path:
    """Return the path that an environment variable names; skip where it names none."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"needs {what}; {variable} tells where")
    return Path(path)


def compile_options(*args, **kwargs):
    """Return JAX's options for the compiler, which makes the simplest code where it hurries."""
    asked = kwargs.get("env_options_overrides") or {}
    if jax.config.read("jax_disable_most_optimizations") and not asked:
        kwargs["env_options_overrides"] = compiler_options()
    return OPTIONS(*args, **kwargs)


# JAX has no public setting for options of all programs; without this the suite is only slower.
OPTIONS = getattr(compiler, "get_compile_options", None)
if OPTIONS:
    compiler.get_compile_options = compile_options


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Let the compiler hurry, but optimise as for users in tests marked ``optimized``."""
    hurry = item.get_closest_marker("optimized") is None
    if jax.config.read("jax_disable_most_optimizations") != hurry:
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", hurry)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Begin with the slow files, and leave the long tests to who asks for them.

    Or one worker would end long after the other.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if not os.environ.get("CDDFUSE_TEST_ALL"):
        skip = pytest.mark.skip(reason="15 s and more, and a sister: CDDFUSE_TEST_ALL asks")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


@pytest.fixture
def x64():
    """Let JAX compute in float64, where a wrong constant shows."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of image pairs: TNO/{vi,ir}, RoadScene/{vi,ir}, MRI_CT/{MRI,CT}, misregistered, ..."""
    return named("CDDFUSE_DATA", "image pairs")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of what the PyTorch release gave, beyond what tests/golden has room for."""
    return named("CDDFUSE_GOLDEN", "more golden values")


@pytest.fixture(scope="session")
def paper_tables() -> Path:
    """The paper's tables as markdown: data set (pairs), method, eight scores."""
    return named("CDDFUSE_PAPER_TABLES", "the paper's tables")


@pytest.fixture(scope="session")
def release_params() -> dict:
    """Params of the random checkpoint that the golden values were computed with.

    Drawn anew: tensors in the order of their torch names, each in its torch shape.
    """
    entries = torch_names.name_table(CDDFuse())
    rng = np.random.default_rng(11)
    params: dict = {}
    for entry in sorted(entries, key=lambda entry: f"{entry.torch_module}.{entry.torch_key}"):
        array = _draw(rng, entry.torch_key, entry.shape).astype(np.float32)
        node = params
        for name in entry.path[:-1]:
            node = node.setdefault(name, {})
        node[entry.path[-1]] = torch_names.from_torch(array, entry.layout)
    return params


def _draw(rng, key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key.endswith(("attn.temperature", "attn.scale")):
        return 1 + 0.25 * rng.standard_normal(shape)
    if key.endswith("bias"):
        return 0.1 * rng.standard_normal(shape)
    if "norm" in key:
        return 1 + 0.1 * rng.standard_normal(shape)
    return rng.uniform(-1, 1, shape) / math.sqrt(math.prod(shape[1:]))


@pytest.fixture(scope="session")
def release_pth(release_params, tmp_path_factory) -> Path:
    """Path of a .pth file with ``release_params``, in the release's format."""
    path = tmp_path_factory.mktemp("weights") / "CDDFuse_random.pth"
    return write_pth(path, torch_weights.state_dicts(release_params))


@pytest.fixture(scope="session")
def tiny_config():
    """A run of 2 + 2 epochs of 2 updates, with the smallest network that has every part.

    2 of 6 scenes are held out, and what is fused with is a running mean.
    """
    config = configs.release()
    config.batch_size = 2
    config.reconstruction_epochs = config.fusion_epochs = 2
    config.learning_rate.initial = 1e-3
    config.learning_rate.decay_epochs = 2
    config.ema = 0.5
    config.model = {
        "features": 8, "heads": 2, "blocks": 1, "coupling_layers": 1, "remat": True
    }  # fmt: skip
    config.data.source = "synthetic"
    config.data.count = 6
    config.data.height = config.data.width = 24
    config.data.crop = 16
    config.held_out.every_nth = 3
    config.held_out.crop = 16
    config.held_out.every = 2
    config.keep_checkpoints = 1
    config.log_every = 1
    config.picture_every = 2
    return config


@pytest.fixture(scope="session")
def tiny_run(tiny_config, tmp_path_factory):
    """Workdir and last state of `tiny_config`."""
    workdir = tmp_path_factory.mktemp("tiny") / "run"
    return workdir, train_and_evaluate(tiny_config, workdir)


@pytest.fixture(scope="session")
def written_run(tiny_config, tiny_params, tmp_path_factory) -> Path:
    """Workdir as `tiny_run` has it, of what is random: for tests of what reads such a folder."""
    meta = {"config": tiny_config.to_dict(), "digest": "of its numbers"}
    return write_checkpoint(tmp_path_factory.mktemp("written") / "run", tiny_params, meta)


@pytest.fixture(scope="session")
def tiny_params() -> dict:
    """Random params of the smallest network, for tests of what surrounds it."""
    model = CDDFuse(features=8, heads=2, blocks=1, coupling_layers=1)
    image = np.zeros((1, 8, 8, 1), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image, image)["params"]
    rng = np.random.default_rng(5)

    def draw(path, leaf):
        spread = 0.1 if leaf.ndim == 1 else 1 / math.sqrt(math.prod(leaf.shape[:-1]))
        return np.float32(spread * rng.standard_normal(leaf.shape) + (path[-1].key in ONES))

    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="session")
def tiny_weights(tiny_params, tmp_path_factory) -> Path:
    """File with ``tiny_params``."""
    file = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    files.save_params(file, tiny_params, {})
    return file


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """The user's file, `parts.py` by another name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(Path(parts.__file__).read_text())
    return tmp_path / "mine.py"
