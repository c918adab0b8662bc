"""A Llama-architecture language model as plain modules.

Made of `nn.Linear`, `nn.RMSNorm` and `nn.Embedding`, so that every method of the survey works on it
unchanged.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of the model."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int


class Attention(nn.Module):
    """Causal self-attention with rotary positions; several query heads share a key/value head."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.head_dim = shape.dim // shape.heads
        self.shared = shape.heads // shape.kv_heads
        self.query = nn.Linear(shape.dim, shape.heads * self.head_dim, bias=False)
        self.key = nn.Linear(shape.dim, shape.kv_heads * self.head_dim, bias=False)
        self.value = nn.Linear(shape.dim, shape.kv_heads * self.head_dim, bias=False)
        self.output = nn.Linear(shape.heads * self.head_dim, shape.dim, bias=False)
        frequency = 10_000.0 ** (-torch.arange(0, self.head_dim, 2) / self.head_dim)
        angle = torch.outer(torch.arange(shape.context), frequency)  # (context, head_dim / 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def rotate(self, x: Tensor) -> Tensor:
        """Turn each pair of neighbours (x[2i], x[2i+1]) by its position's angle."""
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, width) -> the same shape."""
        batch, length, _ = x.shape
        projected = (self.query(x), self.key(x), self.value(x))
        query, key, value = (p.view(batch, length, -1, self.head_dim).transpose(1, 2) for p in projected)
        key, value = (t.repeat_interleave(self.shared, 1) for t in (self.rotate(key), value))
        mixed = F.scaled_dot_product_attention(self.rotate(query), key, value, is_causal=True)
        return self.output(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) · up(x))."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.gate = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.up = nn.Linear(shape.dim, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One decoder layer: pre-norm attention and feed-forward, each with its residual."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.dim, eps=1e-5)
        self.attention = Attention(shape)
        self.feed_forward_norm = nn.RMSNorm(shape.dim, eps=1e-5)
        self.feed_forward = FeedForward(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class Llama(nn.Module):
    """Tokens (batch, length) to next-token logits (batch, length, vocab); the head shares the embedding."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocab, shape.dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.dim, eps=1e-5)
        self.head = nn.Linear(shape.dim, shape.vocab, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[-1] > self.shape.context:
            raise ValueError(f"{tokens.shape[-1]} tokens, but the context holds {self.shape.context}")
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
