"""A program that uses the public names; mypy checks it, nobody runs it."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np

import cddfuse_jax
from cddfuse_jax import CDDFuse, Fuser, InputError, load_params, metrics, save_params


def fuse(visible: np.ndarray, infrared: np.ndarray, folder: Path) -> dict[str, float]:
    params = load_params("CDDFuse_IVF.pth")
    assert_type(params, dict[str, Any])
    save_params(folder, params, {"converted_from": "CDDFuse_IVF.pth"})
    fuser = Fuser(folder, residual="visible", color="none", max_memory="8GiB", precision="highest")
    try:
        fused = fuser(visible, infrared)
    except InputError as error:
        raise SystemExit(error.exit_code) from error
    assert_type(fused, np.ndarray)
    print(cddfuse_jax.__version__, CDDFuse(features=64, heads=8).heads)
    return {name: float(metrics.METRICS[name](fused, visible, infrared)) for name in ("VIF", "MI")}
