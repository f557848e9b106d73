"""The detail branch: an invertible network of affine coupling layers."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.convolutions import AnyArray, conv1x1, depthwise3x3, torch_uniform
from cddfuse_jax.models.derivatives import AnyMap
from cddfuse_jax.models.layers import kernel, reflect_padded


class InvertedResidual(nn.Module):
    """1x1 c -> 2c, relu6, depthwise 3x3 over reflected borders, relu6, 1x1 2c -> c; no residual."""

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the block; h and w are at least 2, for the reflection."""
        c = x.shape[-1]
        expand = kernel(self, "expand", (c, 2 * c), x)
        depthwise = kernel(self, "depthwise", (3, 3, 1, 2 * c), x)
        project = kernel(self, "project", (2 * c, c), x)
        x = nn.relu6(conv1x1(reflect_padded(x), expand))
        return conv1x1(nn.relu6(depthwise3x3(x, depthwise)), project)


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
        z1 = z1 * jnp.exp(self.rho(z2)) + self.eta(z2)
        return jnp.concatenate([z1, z2], -1)

    def inverse(
        self, y: Float[AnyArray, "n h w {self.features}"]
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Undo `__call__`, in closed form."""
        z1, z2 = jnp.split(y, 2, -1)
        z1 = (z1 - self.eta(z2)) * jnp.exp(-self.rho(z2))
        z2 = z2 - self.phi(z1)
        x = jnp.concatenate([z1, z2], -1) - self.shuffle_bias
        flat = jnp.linalg.solve(self.shuffle_kernel.T, x.reshape(-1, self.features).T).T
        return flat.reshape(x.shape)


class DetailFeatureExtraction(nn.Module):
    """High-frequency detail features: ``layers`` coupling layers, with parameters "0", "1", ...

    With ``remat`` the backward pass recomputes each layer from its input.
    """

    layers: int
    features: int
    remat: bool = True

    def setup(self):  # noqa: D102
        layer = nn.remat(CouplingLayer) if self.remat else CouplingLayer
        self.net = [layer(self.features, name=str(i)) for i in range(self.layers)]

    def __call__(
        self, x: Float[AnyMap, "n h w {self.features}"]
    ) -> Float[AnyMap, "n h w {self.features}"]:
        """Couple the two halves."""
        for layer in self.net:
            x = layer(x)
        return x

    def inverse(
        self, y: Float[AnyMap, "n h w {self.features}"]
    ) -> Float[AnyMap, "n h w {self.features}"]:
        """Undo `__call__`."""
        for layer in reversed(self.net):
            y = layer.inverse(y)
        return y
