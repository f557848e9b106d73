"""The fusing network as an ONNX graph, for any number and size of images.

Written down a second time, because what converts JAX's programs to ONNX fixes the size of the
image, and lays out channels last, which ONNX Runtime's convolutions are slow at. `onnx_file`
compares the two before anything is written.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from cddfuse_jax._version import __version__
from cddfuse_jax.export import Type
from cddfuse_jax.models import Residual

OPSET = 18  # what ONNX Runtime 1.14 and its build for browsers read
IR_VERSION = 8
_ONNX_TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
Kernel3x3 = Float[np.ndarray, "3 3 c_in_of_a_group c_out"]
_SIDE = 1  # the axis of channels


class Graph:
    """Nodes and weights, in the order in which they are added.

    Attributes:
        type: of features and weights. Sums over pixels and channels are float32 always.
    """

    def __init__(self, dtype: Type):
        self.type: Type = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Add numbers, by default of the graph's type; return their name."""
        name = f"weight_{len(self.weights)}"
        array = np.ascontiguousarray(np.asarray(values, dtype or self.type))
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def wide(self, x: str) -> str:
        """Make float32 of features."""
        return x if self.type == "float32" else self.op("Cast", x, to=TensorProto.FLOAT)

    def narrow(self, x: str) -> str:
        """Make features of float32."""
        return x if self.type == "float32" else self.op("Cast", x, to=_ONNX_TYPES[self.type])


def conv1x1(
    g: Graph, x: str, kernel: Float[np.ndarray, "c_in c_out"], bias: Sequence[str] = ()
) -> str:
    """Mix channels."""
    return g.op("Conv", x, g.constant(kernel.T[:, :, None, None]), *bias)


def conv3x3(g: Graph, x: str, kernel: Kernel3x3, groups: int = 1, padded: bool = False) -> str:
    """Convolve in groups of channels; zeros beyond the image, unless ``padded`` already."""
    own = kernel.transpose(3, 2, 0, 1)
    pads = [0] * 4 if padded else [1] * 4
    return g.op("Conv", x, g.constant(own), pads=pads, group=groups)


def split(g: Graph, x: str, count: int) -> list[str]:
    """Cut channels into equal parts."""
    names = [f"part_{len(g.nodes)}_{i}" for i in range(count)]
    g.nodes.append(helper.make_node("Split", [x], names, axis=_SIDE, num_outputs=count))
    return names


def layer_norm(g: Graph, x: str, params: Mapping[str, Any]) -> str:
    """Normalise each pixel over its channels."""
    axes = g.constant([_SIDE], np.int64)
    x = g.wide(x)
    centred = g.op("Sub", x, g.op("ReduceMean", x, axes))
    variance = g.op("ReduceMean", g.op("Mul", centred, centred), axes)
    root = g.op("Sqrt", g.op("Add", variance, g.constant(1e-5, np.float32)))
    weight, bias = (
        g.constant(np.reshape(params[name], (-1, 1, 1)), np.float32) for name in ("weight", "bias")
    )
    return g.narrow(g.op("Add", g.op("Mul", g.op("Div", centred, root), weight), bias))


def gelu(g: Graph, x: str) -> str:
    """Exact gelu."""
    phi = g.op("Erf", g.op("Mul", x, g.constant(0.5**0.5)))
    return g.op("Mul", g.op("Mul", x, g.constant(0.5)), g.op("Add", phi, g.constant(1.0)))


def attention(
    g: Graph,
    qkv: str,
    temperature: Float[np.ndarray, "heads ..."],
    project_out: Float[np.ndarray, "c_in c_out"],
) -> str:
    """Attention between the channels of each head, then a 1x1 convolution."""
    heads = len(temperature)
    q, k, v = split(g, qkv, 3)
    shape = g.op("Shape", v)
    per_head = g.constant([0, heads, len(project_out) // heads, -1], np.int64)
    q, k, v = (g.op("Reshape", x, per_head) for x in (q, k, v))
    q, k = g.wide(q), g.wide(k)
    last = g.constant([-1], np.int64)
    norms = []
    for x in (q, k):
        squares = g.op("ReduceSumSquare", x, last)
        norms.append(g.op("Sqrt", g.op("Max", squares, g.constant(1e-24, np.float32))))
    products = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    across = g.op("Transpose", norms[1], perm=[0, 1, 3, 2])
    cosine = g.op("Div", g.op("Div", products, norms[0]), across)
    scale = g.constant(np.reshape(temperature, (heads, 1, 1)), np.float32)
    weights = g.narrow(g.op("Softmax", g.op("Mul", cosine, scale), axis=-1))
    return conv1x1(g, g.op("Reshape", g.op("MatMul", weights, v), shape), project_out)


def feed_forward(g: Graph, x: str, params: Mapping[str, Any], groups: int) -> str:
    """Gated feed-forward network with a 3x3 convolution in groups."""
    hidden = conv1x1(g, x, params["project_in"])
    a, b = split(g, conv3x3(g, hidden, params["dwconv"], groups), 2)
    return conv1x1(g, g.op("Mul", gelu(g, a), b), params["project_out"])


def restormer_block(g: Graph, x: str, params: Mapping[str, Any]) -> str:
    """X += MDTA(LayerNorm(x)); x += GDFN(LayerNorm(x))."""
    own = params["attn"]
    qkv = conv1x1(g, layer_norm(g, x, params["norm1"]), own["qkv"])
    qkv = conv3x3(g, qkv, own["qkv_dwconv"], own["qkv_dwconv"].shape[-1])
    x = g.op("Add", x, attention(g, qkv, own["temperature"], own["project_out"]))
    groups = params["ffn"]["dwconv"].shape[-1]
    return g.op("Add", x, feed_forward(g, layer_norm(g, x, params["norm2"]), params["ffn"], groups))


def base_features(g: Graph, x: str, params: Mapping[str, Any]) -> str:
    """Return the base branch's features."""
    own = params["attn"]
    # One 3x3 convolution instead of a 1x1 and a 3x3, as in `models.base`.
    kernel = np.einsum("im,yxmo->yxio", own["qkv1"], own["qkv2"])
    qkv = conv3x3(g, layer_norm(g, x, params["norm1"]), kernel)
    x = g.op("Add", x, attention(g, qkv, own["scale"], own["proj"]))
    groups = params["mlp"]["dwconv"].shape[-1] // 2
    return g.op("Add", x, feed_forward(g, layer_norm(g, x, params["norm2"]), params["mlp"], groups))


def inverted_residual(g: Graph, x: str, params: Mapping[str, Any]) -> str:
    """1x1, relu6, depthwise 3x3 over reflected borders, relu6, 1x1."""
    bounds = g.constant(0.0), g.constant(6.0)
    pads = g.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    x = g.op("Clip", conv1x1(g, g.op("Pad", x, pads, mode="reflect"), params["expand"]), *bounds)
    depthwise = params["depthwise"]
    x = g.op("Clip", conv3x3(g, x, depthwise, depthwise.shape[-1], padded=True), *bounds)
    return conv1x1(g, x, params["project"])


def detail_features(g: Graph, x: str, params: Mapping[str, Any]) -> str:
    """Return the detail branch's features."""
    for i in range(len(params)):
        own = params[str(i)]
        bias = g.constant(own["shuffle_bias"])
        z1, z2 = split(g, conv1x1(g, x, own["shuffle_kernel"], [bias]), 2)
        z2 = g.op("Add", z2, inverted_residual(g, z1, own["phi"]))
        scaled = g.op("Mul", z1, g.op("Exp", inverted_residual(g, z2, own["rho"])))
        z1 = g.op("Add", scaled, inverted_residual(g, z2, own["eta"]))
        x = g.op("Concat", z1, z2, axis=_SIDE)
    return x


def blocks(g: Graph, x: str, params: Mapping[str, Any]) -> str:
    """Return what RestormerBlocks in a row make of features."""
    for i in range(len(params)):
        x = restormer_block(g, x, params[str(i)])
    return x


def fuse_graph(params: Mapping[str, Any], residual: Residual, dtype: Type) -> onnx.ModelProto:
    """Return the network, its inputs ``visible`` and ``infrared``, its output ``fused``.

    All are float32 (n, h, w) in [0, 1], h and w at least 2, whatever ``dtype`` computes between.
    """
    g = Graph(dtype)
    channel = g.constant([_SIDE], np.int64)
    images = [g.op("Unsqueeze", side, channel) for side in ("visible", "infrared")]
    encoder, decoder = params["encoder"], params["decoder"]
    features = []
    for image in images:
        x = blocks(g, conv3x3(g, g.narrow(image), encoder["patch_embed"]), encoder["blocks"])
        features.append(
            (base_features(g, x, encoder["base"]), detail_features(g, x, encoder["detail"]))
        )
    # The fusion rule, `models.cddfuse.Sum`.
    merged = [g.op("Add", *both) for both in zip(*features, strict=True)]
    base = base_features(g, merged[0], params["base_fusion"])
    detail = detail_features(g, merged[1], params["detail_fusion"])
    joined = conv1x1(g, g.op("Concat", base, detail, axis=_SIDE), decoder["reduce_channel"])
    x = conv3x3(g, blocks(g, joined, decoder["blocks"]), decoder["output1"])
    x = g.wide(conv3x3(g, g.op("LeakyRelu", x, alpha=0.01), decoder["output2"]))
    if residual != "none":
        added = images[0] if residual == "visible" else g.op("Add", *images)
        x = g.op("Add", x, added)
    fused = g.op("Squeeze", g.op("Sigmoid", x), channel)
    g.nodes.append(helper.make_node("Identity", [fused], ["fused"]))

    def image_of(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "h", "w"])

    graph = helper.make_graph(
        g.nodes, "cddfuse", [image_of("visible"), image_of("infrared")], [image_of("fused")],
        g.weights,
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="cddfuse-jax", producer_version=__version__,
    )  # fmt: skip
    onnx.checker.check_model(model, full_check=True)
    return model
