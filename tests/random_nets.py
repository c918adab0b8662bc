"""Random small networks of the structures that couple channels, for the property test of the cut."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    def __init__(self, channels, draw):
        super().__init__()
        width = draw.choice([3, 4, 6])
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )

    def forward(self, x):
        return F.relu(x + self.body(x))


class OptionA(nn.Module):
    """Shortcut that is padded with constant channels on both sides."""

    def __init__(self, channels, draw):
        super().__init__()
        self.pad, self.stride = draw.choice([1, 2]), draw.choice([1, 2])
        self.conv = nn.Conv2d(channels, channels + 2 * self.pad, 3, self.stride, 1)

    def forward(self, x):
        short = x[:, :, :: self.stride, :: self.stride]
        return self.conv(x) + F.pad(short, (0, 0, 0, 0, self.pad, self.pad))


class Concat(nn.Module):
    def __init__(self, channels, draw):
        super().__init__()
        self.left, self.right = nn.Conv2d(channels, 4, 1), nn.Conv2d(channels, 2, 3, padding=1)
        self.kind = draw.choice(["both", "dense", "twice"])

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        return torch.cat({"both": [left, right], "dense": [x, left], "twice": [left, left]}[self.kind], 1)


class Gate(nn.Module):
    """Squeeze and excitation, or one gate for all channels."""

    def __init__(self, channels, draw):
        super().__init__()
        self.kind = draw.choice(["excite", "expand_as", "scalar"])
        self.reduce, self.expand = (
            nn.Conv2d(channels, 3, 1),
            nn.Conv2d(3, 1 if self.kind == "scalar" else channels, 1),
        )

    def forward(self, x):
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))
        return x * (gate.expand_as(x) if self.kind == "expand_as" else gate)


class Halves(nn.Module):
    def __init__(self, channels, draw):
        super().__init__()
        self.conv, self.kind = (
            nn.Conv2d(channels, 8, 1),
            draw.choice(["chunk", "slice", "glu", "maxout", "split"]),
        )

    def forward(self, x):
        x = self.conv(x)
        half = x.shape[1] // 2
        if self.kind == "glu":
            return F.glu(x, 1)
        if self.kind == "maxout":
            return x.view(x.shape[0], half, 2, *x.shape[2:]).amax(2)
        parts = {"chunk": x.chunk(2, 1), "slice": (x[:, :half], x[:, half:]), "split": x.split(half, 1)}
        first, second = parts[self.kind]
        return first * torch.sigmoid(second)


class Shuffle(nn.Module):
    def __init__(self, channels, draw):
        super().__init__()
        self.kind = draw.choice(["view", "unflatten", "module"])
        self.conv, self.module = nn.Conv2d(channels, 8, 1), nn.ChannelShuffle(2)

    def forward(self, x):
        x = self.conv(x)
        batch, channels, height, width = x.shape
        if self.kind == "module":
            return self.module(x)
        if self.kind == "unflatten":
            return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        return (
            x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, -1, height, width)
        )


class ChannelLast(nn.Module):
    """Layer norm and a two-layer perceptron over the channel axis moved to the end."""

    def __init__(self, channels, draw):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.up, self.down = nn.Linear(channels, 6), nn.Linear(6, channels)
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x):
        y = self.norm(x.permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Self-attention by hand, heads of a computed or a stated width."""

    def __init__(self, channels, draw):
        super().__init__()
        self.kind, self.heads = draw.choice(["computed", "scaled", "default"]), 2
        self.qkv, self.out = nn.Linear(channels, 12), nn.Linear(4, channels)

    def forward(self, x):
        batch, channels, height, width = x.shape
        tokens = self.qkv(x.flatten(2).transpose(1, 2))
        q, k, v = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in tokens.chunk(3, 2))
        if self.kind == "default":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            scale = 0.5 if self.kind == "scaled" else q.shape[-1] ** -0.5
            mixed = torch.softmax(q @ k.transpose(2, 3) * scale, -1) @ v
        y = self.out(mixed.transpose(1, 2).flatten(2))
        return x + y.transpose(1, 2).unflatten(2, (height, width))


class Table(nn.Module):
    """Bare parameter, buffer and PReLU on the channel axis."""

    def __init__(self, channels, draw):
        super().__init__()
        self.scale, self.act = (
            nn.Parameter(torch.rand(channels, 1, 1) + 0.5),
            nn.PReLU(draw.choice([1, channels])),
        )
        self.register_buffer("shift", torch.rand(1, channels, 1, 1))

    def forward(self, x):
        return self.act(x * self.scale + self.shift)


def convolution(channels, draw):
    width = draw.choice([4, 5, 6, 8])
    if draw.random() < 0.2:
        return nn.ConvTranspose2d(channels, width, 2, 2)
    return nn.Conv2d(channels, width, draw.choice([1, 3]), padding=1, bias=draw.random() < 0.5)


def depthwise(channels, draw):
    return nn.Conv2d(channels, channels * draw.choice([1, 2]), 3, padding=1, groups=channels)


def grouped(channels, draw):
    conv = nn.ConvTranspose2d if draw.random() < 0.3 else nn.Conv2d
    return nn.Sequential(
        nn.Conv2d(channels, 8, 1), conv(8, draw.choice([4, 8]), 3, padding=1, groups=draw.choice([2, 4]))
    )


def norm(channels, draw):
    groups = draw.choice([g for g in (1, 2, 3, 4) if channels % g == 0])
    kinds = [
        nn.BatchNorm2d(channels),
        nn.InstanceNorm2d(channels, affine=True),
        nn.GroupNorm(groups, channels),
    ]
    return nn.Sequential(draw.choice(kinds), draw.choice([nn.ReLU(), nn.Hardswish(), nn.Tanh()]))


def pixels(channels, draw):
    return nn.Sequential(
        nn.Conv2d(channels, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 4, 1), nn.PixelUnshuffle(2)
    )


BLOCKS = [
    convolution,
    convolution,
    depthwise,
    grouped,
    norm,
    norm,
    pixels,
    Residual,
    Residual,
    OptionA,
    Concat,
    Gate,
    Halves,
    Shuffle,
    ChannelLast,
    Attention,
    Table,
]


class RandomNet(nn.Module):
    """Three to nine random blocks, and a head behind pooling to 1x1 or flattened from 2x2."""

    def __init__(self, seed: int):
        super().__init__()
        draw, self.body = random.Random(seed), nn.Sequential(nn.Conv2d(2, 6, 3, padding=1))
        torch.manual_seed(seed)
        with torch.no_grad():
            x = self.body.eval()(torch.zeros(1, 2, 6, 6))
        for _ in range(draw.randint(3, 9)):
            kinds = [
                kind for kind in BLOCKS if kind is not OptionA or x.shape[2] > 3
            ]  # instance norm needs 2 pixels
            self.body.append(draw.choice(kinds)(x.shape[1], draw).eval())
            with torch.no_grad():
                x = self.body[-1](x)
        self.pool = draw.choice([1, 1, 2])
        self.head = nn.Linear(x.shape[1] * self.pool**2, 3)

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(self.body(x), self.pool).flatten(1))
