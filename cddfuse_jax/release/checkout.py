"""A checkout of the PyTorch release, loaded as it is. Needs the extra [torch]."""

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.weights import torch_weights

_STUBS = ("timm", "timm.models", "timm.models.layers")


def load_release(folder: str | Path, params: Any) -> dict[str, Any]:
    """Build the four modules of a checkout of the release, in the sizes of ``params``, with them.

    Nothing is written into the checkout, and modules that it imports without using are replaced by
    empty ones while it is imported.

    Returns:
        The torch modules by the names of their state dicts.
    """
    try:
        import einops  # noqa: F401
        import torch
    except ImportError as error:
        raise InputError(
            f"running the release needs PyTorch and einops ({error}): {install('torch')}"
        ) from None
    file = Path(folder) / "net.py"
    if not file.is_file():
        raise InputError(f"{folder}: no net.py there; give a checkout of the PyTorch release")
    try:
        with _importing():
            spec = importlib.util.spec_from_file_location("cddfuse_release_net", file)
            net = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(net)
        modules = _modules(net, CDDFuse.from_params(params))
    except (Exception, SystemExit) as error:  # it is the user's checkout: any error is reported
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


def _modules(net: Any, model: CDDFuse) -> dict[str, Any]:
    """Build the release's modules in the sizes of ``model``, which its classes take.

    They fix only the 64 features of its coupling layers, where others need other blocks of its.
    """
    import torch

    f, heads, channels = model.features, model.heads, model.channels
    ends = {"dim": f, "num_blocks": [model.blocks] * 2, "heads": [heads] * 3}
    ends |= {"inp_channels": channels, "out_channels": channels}
    modules = {
        "DIDF_Encoder": net.Restormer_Encoder(**ends),
        "DIDF_Decoder": net.Restormer_Decoder(**ends),
        "BaseFuseLayer": net.BaseFeatureExtraction(dim=f, num_heads=heads),
        "DetailFuseLayer": net.DetailFeatureExtraction(num_layers=1),
    }
    encoded = net.DetailFeatureExtraction(num_layers=model.coupling_layers)
    modules["DIDF_Encoder"].detailFeature = encoded
    for layer in () if f == CDDFuse.features else (*encoded.net, *modules["DetailFuseLayer"].net):
        layer.shffleconv = torch.nn.Conv2d(f, f, kernel_size=1)
        for name in ("theta_phi", "theta_rho", "theta_eta"):
            setattr(layer, name, net.InvertedResidualBlock(f // 2, f // 2, expand_ratio=2))
    return modules


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Replace timm, and keep Python from writing bytecode into the checkout."""
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
