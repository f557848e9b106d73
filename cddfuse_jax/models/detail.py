"""The detail branch: an invertible network of affine coupling layers."""

import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.linalg import block_diag
from jaxtyping import Float

from cddfuse_jax.models.convolutions import AnyArray, conv1x1, depthwise3x3, torch_uniform
from cddfuse_jax.models.derivatives import by_platform
from cddfuse_jax.models.layers import kernel, reflect_padded
from cddfuse_jax.models.pieces import module_in_pieces


def inverted_residual(
    padded: Float[AnyArray, "n h w c"],
    expand: Float[AnyArray, "c hidden"],
    depthwise: Float[AnyArray, "3 3 1 hidden"],
    project: Float[AnyArray, "hidden c_out"],
) -> Float[AnyArray, "n h-2 w-2 c_out"]:
    """1x1, relu6, depthwise 3x3, relu6, 1x1, of an image with its border mirrored."""
    x = nn.relu6(conv1x1(padded, expand))
    return conv1x1(nn.relu6(depthwise3x3(x, depthwise, "reflect")), project)


class InvertedResidual(nn.Module):
    """1x1 c -> 2c, relu6, depthwise 3x3 over reflected borders, relu6, 1x1 2c -> c; no residual."""

    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the block; h and w are at least 2, for the reflection."""
        return inverted_residual(reflect_padded(x), *self.kernels(x))

    @nn.compact
    def kernels(self, x: Float[AnyArray, "n h w c"]) -> tuple[Float[AnyArray, "..."], ...]:
        """Return the kernels of `inverted_residual`, in the type of ``x``."""
        c = x.shape[-1]
        expand = kernel(self, "expand", (c, 2 * c), x)
        depthwise = kernel(self, "depthwise", (3, 3, 1, 2 * c), x)
        return expand, depthwise, kernel(self, "project", (2 * c, c), x)


def _one_by_one(padded, blocks):
    return [inverted_residual(padded, *kernels) for kernels in blocks]


def _side_by_side(padded, blocks):
    expand, depthwise, project = zip(*blocks, strict=True)
    expand, depthwise = (jnp.concatenate(kernels, -1) for kernels in (expand, depthwise))
    both = inverted_residual(padded, expand, depthwise, block_diag(*project))
    return jnp.split(both, len(blocks), -1)


class CouplingLayer(nn.Module):
    """Invertible affine coupling of the two halves (z1, z2) of a feature map.

    z1, z2 = shuffle(z1, z2)              a 1x1 convolution with bias
    z2 = z2 + phi(z1)
    z1 = z1 · exp(rho(z2)) + eta(z2)
    """

    features: int

    def setup(self):  # noqa: D102
        self.shuffle_kernel = self.param(
            "shuffle_kernel", torch_uniform, (self.features, self.features)
        )
        # Torch draws a bias as it draws the weights: by their fan_in, which is `features` here too.
        self.shuffle_bias = self.param(
            "shuffle_bias",
            lambda key, shape: torch_uniform(key, (*shape, 1))[:, 0],
            (self.features,),
        )
        self.phi = InvertedResidual()
        self.rho = InvertedResidual()
        self.eta = InvertedResidual()

    def __call__(
        self, x: Float[AnyArray, "n h w {self.features}"]
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Couple the two halves."""
        weights, bias = (p.astype(x.dtype) for p in (self.shuffle_kernel, self.shuffle_bias))
        z1, z2 = jnp.split(conv1x1(x, weights) + bias, 2, -1)
        z2 = z2 + self.phi(z1)
        rho, eta = self.rho_and_eta(z2)
        z1 = z1 * jnp.exp(rho) + eta
        return jnp.concatenate([z1, z2], -1)

    def rho_and_eta(
        self, z2: Float[AnyArray, "n h w {self.features//2}"]
    ) -> list[Float[AnyArray, "n h w {self.features//2}"]]:
        """Return rho(z2) and eta(z2): on GPUs, and TPUs by eights, one block twice as wide."""
        blocks = [block.kernels(z2) for block in (self.rho, self.eta)]
        tpu = _one_by_one if z2.shape[0] % 8 else _side_by_side
        return by_platform(
            reflect_padded(z2), blocks, gpu=_side_by_side, tpu=tpu, default=_one_by_one
        )

    def inverse(
        self, y: Float[AnyArray, "n h w {self.features}"]
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Undo `__call__`, in closed form."""
        z1, z2 = jnp.split(y, 2, -1)
        rho, eta = self.rho_and_eta(z2)
        z1 = (z1 - eta) * jnp.exp(-rho)
        z2 = z2 - self.phi(z1)
        x = jnp.concatenate([z1, z2], -1) - self.shuffle_bias
        flat = jnp.linalg.solve(self.shuffle_kernel.T, x.reshape(-1, self.features).T).T
        return flat.reshape(x.shape)


class DetailFeatureExtraction(nn.Module):
    """High-frequency detail features: ``layers`` coupling layers, with parameters "0", "1", ...

    With ``remat`` the backward pass recomputes each layer from its input. Each is computed over
    ``piece`` images at a time, see `in_pieces`.
    """

    layers: int
    features: int
    remat: bool = True
    piece: int = 0

    def setup(self):  # noqa: D102
        layer = nn.remat(CouplingLayer) if self.remat else CouplingLayer
        self.net = [layer(self.features, name=str(i)) for i in range(self.layers)]

    def __call__(
        self, x: Float[AnyArray, "n h w {self.features}"]
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Couple the two halves."""
        for layer in self.net:
            x = module_in_pieces(layer, x, self.piece)
        return x

    def inverse(
        self, y: Float[AnyArray, "n h w {self.features}"]
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Undo `__call__`."""
        for layer in reversed(self.net):
            y = layer.inverse(y)
        return y
