"""The network as its formulas say it, block by block, without any of the package's shortcuts.

Wide convolutions are split after they are made, grouped ones are XLA's own, heads are a loop, the
base branch's two convolutions are two, and no derivative is written by hand. Params as the package
has them; features are (n, h, w, c).
"""

import jax.numpy as jnp
from jax import lax


def conv(x, kernel, groups=1, padding="SAME"):
    """Convolve with a (c_in, c_out) or (3, 3, c_in / groups, c_out) kernel."""
    kernel = kernel if kernel.ndim == 4 else kernel[None, None]
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=numbers, feature_group_count=groups
    )


def layer_norm(params, x):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * params["weight"] + params["bias"]


def gelu(x):
    return x * lax.erfc(-x / jnp.sqrt(2.0)) / 2


def attend(q, k, v, temperature):
    """Each head apart: softmax(q̂ᵀ k̂ · temperature) over its channels, applied to v."""
    n, height, width, c = q.shape
    results = []
    for head, factor in enumerate(temperature):
        channels = slice(head * (c // len(temperature)), (head + 1) * (c // len(temperature)))
        qh, kh, vh = (x[..., channels].reshape(n, height * width, -1) for x in (q, k, v))
        qh, kh = (x / jnp.maximum(jnp.sqrt((x**2).sum(1, keepdims=True)), 1e-12) for x in (qh, kh))
        weights = jnp.exp(jnp.einsum("npc,npd->ncd", qh, kh) * factor)
        weights = weights / weights.sum(-1, keepdims=True)
        results.append(jnp.einsum("ncd,npd->npc", weights, vh).reshape(n, height, width, -1))
    return jnp.concatenate(results, -1)


def mdta(params, x):
    qkv = conv(x, params["qkv"])
    q, k, v = jnp.split(conv(qkv, params["qkv_dwconv"], groups=qkv.shape[-1]), 3, -1)
    return conv(attend(q, k, v, params["temperature"]), params["project_out"])


def gdfn(params, x):
    wide = conv(x, params["project_in"])
    a, b = jnp.split(conv(wide, params["dwconv"], groups=wide.shape[-1]), 2, -1)
    return conv(gelu(a) * b, params["project_out"])


def restormer_block(params, x):
    x = x + mdta(params["attn"], layer_norm(params["norm1"], x))
    return x + gdfn(params["ffn"], layer_norm(params["norm2"], x))


def restormer_blocks(params, x):
    for i in range(len(params)):
        x = restormer_block(params[str(i)], x)
    return x


def base_attention(params, x):
    q, k, v = jnp.split(conv(conv(x, params["qkv1"]), params["qkv2"]), 3, -1)
    return conv(attend(q, k, v, params["scale"]), params["proj"])


def base_feed_forward(params, x):
    wide = conv(x, params["project_in"])
    a, b = jnp.split(conv(wide, params["dwconv"], groups=wide.shape[-1] // 2), 2, -1)
    return conv(gelu(a) * b, params["project_out"])


def base_feature_extraction(params, x):
    x = x + base_attention(params["attn"], layer_norm(params["norm1"], x))
    return x + base_feed_forward(params["mlp"], layer_norm(params["norm2"], x))


def inverted_residual(params, x):
    x = jnp.clip(conv(x, params["expand"]), 0, 6)
    rows = jnp.concatenate([x[:, 1:2], x, x[:, -2:-1]], 1)
    x = jnp.concatenate([rows[:, :, 1:2], rows, rows[:, :, -2:-1]], 2)
    x = jnp.clip(conv(x, params["depthwise"], groups=x.shape[-1], padding="VALID"), 0, 6)
    return conv(x, params["project"])


def coupling_layer(params, x):
    z = conv(x, params["shuffle_kernel"]) + params["shuffle_bias"]
    z1, z2 = jnp.split(z, 2, -1)
    z2 = z2 + inverted_residual(params["phi"], z1)
    z1 = z1 * jnp.exp(inverted_residual(params["rho"], z2)) + inverted_residual(params["eta"], z2)
    return jnp.concatenate([z1, z2], -1)


def detail_feature_extraction(params, x):
    for i in range(len(params)):
        x = coupling_layer(params[str(i)], x)
    return x


def encode(params, image):
    shallow = restormer_blocks(params["blocks"], conv(image, params["patch_embed"]))
    base = base_feature_extraction(params["base"], shallow)
    return base, detail_feature_extraction(params["detail"], shallow), shallow


def decode(params, base, detail, residual=0.0):
    x = conv(jnp.concatenate([base, detail], -1), params["reduce_channel"])
    x = conv(restormer_blocks(params["blocks"], x), params["output1"])
    x = conv(jnp.where(x > 0, x, 0.01 * x), params["output2"])
    return 1 / (1 + jnp.exp(-(x + residual)))


def fuse(params, visible, infrared, residual):
    """Return the fused image; both images are encoded apart."""
    added = {"visible": visible, "sum": visible + infrared, "none": 0.0}[residual]
    base_v, detail_v, _ = encode(params["encoder"], visible)
    base_i, detail_i, _ = encode(params["encoder"], infrared)
    base = base_feature_extraction(params["base_fusion"], base_v + base_i)
    detail = detail_feature_extraction(params["detail_fusion"], detail_v + detail_i)
    return decode(params["decoder"], base, detail, added)
