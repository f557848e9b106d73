"""What the benchmark compares with: the release in PyTorch, and what else runs its network."""

import functools
import io
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from cddfuse_jax.release.checkout import load_release

Timed = Callable[[], Any]


def release_fuse(
    release: str,
    params,
    visible: np.ndarray,
    infrared: np.ndarray,
    threads: int,
    device: str = "cpu",
):
    """Return the release's fusing as one torch module, and its inputs; images are (n, h, w).

    The modules are on ``device``, the inputs are not.
    """
    import torch

    torch.set_num_threads(threads)
    modules = load_release(release, params)
    for module in modules.values():
        module.to(device)

    class Fuse(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = modules["DIDF_Encoder"], modules["DIDF_Decoder"]
            self.base, self.detail = modules["BaseFuseLayer"], modules["DetailFuseLayer"]

        def features(self, visible, infrared):
            (base_v, detail_v, _), (base_i, detail_i, _) = map(self.encoder, (visible, infrared))
            fused = self.base(base_v + base_i), self.detail(detail_v + detail_i)
            return self.decoder(visible, *fused)[0], (base_v, base_i), (detail_v, detail_i)

        def forward(self, visible, infrared):
            return self.features(visible, infrared)[0]

    images = tuple(torch.from_numpy(image)[:, None] for image in (visible, infrared))
    return Fuse().eval(), modules, images


def eager(*arguments) -> Timed:
    """Fuse in PyTorch as the release does."""
    import torch

    module, _, images = release_fuse(*arguments)
    device = next(module.parameters()).device
    return torch.inference_mode()(lambda: module(*(x.to(device) for x in images)).cpu())


def compiled(*arguments) -> Timed:
    """Fuse with ``torch.compile``; the first call compiles."""
    import torch

    module, _, images = release_fuse(*arguments)
    # The compiler looks up the release's module by its name, which parity leaves unregistered.
    network = type(module.encoder)
    sys.modules[network.__module__] = types.ModuleType(network.__module__)
    vars(sys.modules[network.__module__]).update(network.__init__.__globals__)
    module = torch.compile(module)
    return torch.inference_mode()(lambda: module(*images))


def onnx_runtime(*arguments) -> Timed:
    """Fuse with ONNX Runtime on the CPU."""
    import onnxruntime
    import torch

    module, _, images = release_fuse(*arguments)
    file = io.BytesIO()
    names = ["visible", "infrared"]
    with torch.no_grad():  # else 640x480 takes more than 20 GB
        torch.onnx.export(module, images, file, input_names=names, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments[-1]
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    inputs = {name: image.numpy() for name, image in zip(names, images, strict=True)}
    return lambda: session.run(None, inputs)


def openvino(*arguments) -> Timed:
    """Fuse with OpenVINO on the CPU, in float32."""
    import openvino

    module, _, images = release_fuse(*arguments)
    model = openvino.convert_model(module, example_input=images)
    settings = {"INFERENCE_NUM_THREADS": arguments[-1], "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    return functools.partial(request.infer, [image.numpy() for image in images])


FUSERS = {
    "release": eager,
    "torch.compile": compiled,
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": openvino,
}


def training_step(
    release: str, params, visible, infrared, threads: int, device: str = "cpu"
) -> Timed:
    """Stage II's update in PyTorch eager: forward, backward, clip, Adam, for all four modules."""
    import torch

    module, modules, images = release_fuse(release, params, visible, infrared, threads, device)
    module.train()
    optimizers = [torch.optim.Adam(each.parameters(), lr=1e-4) for each in modules.values()]

    def train():
        module.zero_grad()
        here = [image.to(device) for image in images]
        loss = _fusion_loss(*here, *module.features(*here))
        loss.backward()
        for each, optimizer in zip(modules.values(), optimizers, strict=True):
            torch.nn.utils.clip_grad_norm_(each.parameters(), 0.01)
            optimizer.step()
        return loss.item()

    return train


def _fusion_loss(visible, infrared, fused, bases, details):
    """Stage II's loss in PyTorch, by its formula: see `cddfuse_jax.losses.fusion_loss`."""
    import torch

    smooth, slope = torch.tensor([1.0, 2, 1]), torch.tensor([-1.0, 0, 1])
    sobel = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]
    sobel = sobel.to(visible.device)

    def magnitude(image):
        return torch.conv2d(image, sobel, padding=1).abs().sum(1, keepdim=True)

    def correlation(a, b):
        a, b = (x - x.mean((2, 3), keepdim=True) for x in (a, b))
        norms = torch.sqrt((a * a).sum((2, 3))) * torch.sqrt((b * b).sum((2, 3)))
        return torch.clamp((a * b).sum((2, 3)) / (norms + np.finfo(np.float32).eps), -1, 1).mean()

    strongest = torch.maximum(magnitude(visible), magnitude(infrared))
    return (
        torch.mean(torch.abs(torch.maximum(visible, infrared) - fused))
        + 10 * torch.mean(torch.abs(strongest - magnitude(fused)))
        + 2 * correlation(*details) ** 2 / (1.01 + correlation(*bases))
    )
