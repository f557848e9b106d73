"""The network in PyTorch under the release's names: a ``net.py`` for tests without a checkout.

Written from the description of the network, not from the release's code. The names of classes,
their arguments and attributes are the release's, since these make its state dicts. NCHW.
"""

import torch
from torch import nn
from torch.nn import functional


def conv(inputs, outputs, size, groups=1, padding=None):
    padding = size // 2 if padding is None else padding
    return nn.Conv2d(inputs, outputs, size, padding=padding, groups=groups, bias=False)


class Norm(nn.Module):
    """Over channels."""

    def __init__(self, features):
        super().__init__()
        self.body = nn.LayerNorm(features, eps=1e-5)

    def forward(self, x):
        return self.body(x.movedim(1, -1)).movedim(-1, 1)


def attention(qkv, scale):
    n, channels, height, width = qkv.shape
    heads = len(scale)
    q, k, v = qkv.reshape(n, 3, heads, channels // 3 // heads, height * width).unbind(1)
    q, k = (functional.normalize(x, dim=-1) for x in (q, k))
    weights = torch.softmax(torch.einsum("nhip,nhjp->nhij", q, k) * scale, dim=-1)
    return torch.einsum("nhij,nhjp->nhip", weights, v).reshape(n, channels // 3, height, width)


class FeedForward(nn.Module):
    def __init__(self, features, hidden, groups):
        super().__init__()
        self.project_in = conv(features, 2 * hidden, 1)
        self.dwconv = conv(2 * hidden, 2 * hidden, 3, groups)
        self.project_out = conv(hidden, features, 1)

    def forward(self, x):
        a, b = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(functional.gelu(a) * b)


class Attention(nn.Module):
    def __init__(self, features, heads):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = conv(features, 3 * features, 1)
        self.qkv_dwconv = conv(3 * features, 3 * features, 3, 3 * features)
        self.project_out = conv(features, features, 1)

    def forward(self, x):
        return self.project_out(attention(self.qkv_dwconv(self.qkv(x)), self.temperature))


class BaseAttention(nn.Module):
    def __init__(self, features, heads):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv1 = conv(features, 3 * features, 1)
        self.qkv2 = conv(3 * features, 3 * features, 3)
        self.proj = conv(features, features, 1)

    def forward(self, x):
        return self.proj(attention(self.qkv2(self.qkv1(x)), self.scale))


class RestormerBlock(nn.Module):
    def __init__(self, features, heads):
        super().__init__()
        self.norm1, self.attn = Norm(features), Attention(features, heads)
        self.norm2, self.ffn = Norm(features), FeedForward(features, 2 * features, 4 * features)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class BaseFeatureExtraction(nn.Module):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.norm1, self.attn = Norm(dim), BaseAttention(dim, num_heads)
        self.norm2, self.mlp = Norm(dim), FeedForward(dim, dim, dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class InvertedResidualBlock(nn.Module):
    def __init__(self, inp, oup, expand_ratio):
        super().__init__()
        hidden = inp * expand_ratio
        self.bottleneckBlock = nn.Sequential(
            conv(inp, hidden, 1), nn.ReLU6(), nn.ReflectionPad2d(1),
            conv(hidden, hidden, 3, hidden, padding=0), nn.ReLU6(), conv(hidden, oup, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.bottleneckBlock(x)


class DetailNode(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ("theta_phi", "theta_rho", "theta_eta"):
            setattr(self, name, InvertedResidualBlock(32, 32, 2))
        self.shffleconv = nn.Conv2d(64, 64, 1)

    def forward(self, x):
        first, second = self.shffleconv(x).chunk(2, 1)
        second = second + self.theta_phi(first)
        first = first * torch.exp(self.theta_rho(second)) + self.theta_eta(second)
        return torch.cat([first, second], 1)


class DetailFeatureExtraction(nn.Module):
    def __init__(self, num_layers=3):
        super().__init__()
        self.net = nn.Sequential(*(DetailNode() for _ in range(num_layers)))

    def forward(self, x):
        return self.net(x)


class Patches(nn.Module):
    def __init__(self, channels, features):
        super().__init__()
        self.proj = conv(channels, features, 3)

    def forward(self, x):
        return self.proj(x)


class Restormer_Encoder(nn.Module):
    def __init__(self, inp_channels=1, out_channels=1, dim=64, num_blocks=(4, 4), heads=(8, 8, 8)):
        super().__init__()
        self.patch_embed = Patches(inp_channels, dim)
        blocks = (RestormerBlock(dim, heads[0]) for _ in range(num_blocks[0]))
        self.encoder_level1 = nn.Sequential(*blocks)
        self.baseFeature = BaseFeatureExtraction(dim, heads[2])
        self.detailFeature = DetailFeatureExtraction()

    def forward(self, image):
        shallow = self.encoder_level1(self.patch_embed(image))
        return self.baseFeature(shallow), self.detailFeature(shallow), shallow


class Restormer_Decoder(nn.Module):
    def __init__(self, inp_channels=1, out_channels=1, dim=64, num_blocks=(4, 4), heads=(8, 8, 8)):
        super().__init__()
        self.reduce_channel = conv(2 * dim, dim, 1)
        blocks = (RestormerBlock(dim, heads[1]) for _ in range(num_blocks[1]))
        self.encoder_level2 = nn.Sequential(*blocks)
        ends = conv(dim, dim // 2, 3), nn.LeakyReLU(0.01), conv(dim // 2, out_channels, 3)
        self.output = nn.Sequential(*ends)

    def forward(self, image, base, detail):
        features = self.reduce_channel(torch.cat([base, detail], 1))
        decoded = self.output(self.encoder_level2(features))
        return torch.sigmoid(decoded if image is None else decoded + image), features
