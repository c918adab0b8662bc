"""The pretrained stories260K language model: network, tokenizer, stories, loss, decoding, pruning block by block.

The network is made of `nn.Linear`, `nn.RMSNorm` and `nn.Embedding`, so that every method of the survey works on
it unchanged.
"""

import io
import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from survey_lib.catalogue import find
from survey_lib.chain.evidence.base import collect
from survey_lib.chain.masks import Masks, prunable
from survey_lib.experiment.data.sources import pinned
from survey_lib.prune import prune
from survey_lib.repository import REPOSITORY

DATA = REPOSITORY / "data"


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


class Tokenizer:
    """Byte-pair pieces in the order in which they were learned; encode joins the neighbours learned first, again and again."""

    BOS = 1
    FIRST_BYTE = 3  # tokens 3 to 258 are the bytes 0 to 255

    def __init__(self, pieces: list[str]):
        self.pieces = pieces
        self.index = {piece: token for token, piece in enumerate(pieces)}

    def encode(self, text: str) -> list[int]:
        """BOS, then the text with a leading space; word by word, since no piece has a space inside."""
        words = re.findall(" [^ ]*", " " + text)
        return [self.BOS, *(token for word in words for token in self._encode_word(word))]

    def _encode_word(self, word: str) -> list[int]:
        tokens = []
        for character in word:
            whole = self.index.get(character)
            tokens += [byte + self.FIRST_BYTE for byte in character.encode()] if whole is None else [whole]
        none = len(self.pieces)
        while True:
            made = [self.index.get(self.pieces[a] + self.pieces[b], none) for a, b in pairwise(tokens)]
            first = min(made, default=none)
            if first == none:
                return tokens
            place = made.index(first)
            tokens[place : place + 2] = [first]

    def decode(self, tokens: list[int]) -> str:
        """The text, without BOS and the leading space."""
        single = {byte + self.FIRST_BYTE: bytes([byte]) for byte in range(256)}
        pieces = [single.get(token, self.pieces[token].encode()) for token in tokens if token != self.BOS]
        return b"".join(pieces).decode(errors="replace").removeprefix(" ")


def load_stories(root: Path = DATA) -> tuple[Llama, Tokenizer]:
    """The pretrained stories260K model and its tokenizer, after a check of both files' sha256."""
    shape = Shape(dim=64, hidden=172, layers=5, heads=8, kv_heads=4, vocab=512, context=512)
    weights = load(pinned(root, "stories260K/model.safetensors"))
    model = Llama(shape)
    model.load_state_dict(weights | {"head.weight": weights["embedding.weight"]})
    return model.eval(), Tokenizer(json.loads(pinned(root, "stories260K/pieces.json")))


def load_texts(name: str) -> list[str]:
    """The stories of a set: calibration (64 sampled from the model itself) or evaluation (5 written by hand)."""
    return json.loads((DATA / "stories260K" / f"{name}.json").read_text())


def load_sampled(root: Path = DATA) -> Tensor:
    """Texts that the dense model wrote, for evaluation: tokens (200, 257), after a check of the sha256.

    Made by `continued`; none of them is among the calibration stories.
    """
    texts = np.load(io.BytesIO(pinned(root, "stories260K/sampled.npy")), allow_pickle=False)
    return torch.from_numpy(texts.astype(np.int64))


def windows(stories: list[list[int]], length: int) -> Tensor:
    """Tokens of all stories end to end, cut into windows.

    Parameters
    ----------
    stories : list[list[int]]
        Tokens of each story.
    length : int
        Length of a window.

    Returns
    -------
    Tensor
        (n, length); the rest that fills no window is left out.
    """
    flat = torch.tensor([token for story in stories for token in story])
    return flat[: len(flat) // length * length].view(-1, length)


@torch.no_grad()
def log_probabilities(model: nn.Module, stories: list[list[int]]) -> Tensor:
    """Log-probability of each token given its story so far: (tokens, vocab), in nats.

    Parameters
    ----------
    model : nn.Module
        Next-token logits (batch, length, vocab).
    stories : list[list[int]]
        Tokens of each story.
    """
    return torch.cat([model(torch.tensor([story[:-1]]))[0].log_softmax(-1) for story in stories])


def token_losses(model: nn.Module, stories: list[list[int]]) -> Tensor:
    """Cross-entropy of each token after a story's BOS, in nats; the mean is the language model's loss.

    Two models are compared token by token: over 1,100 tokens the mean difference has a standard error near
    0.01, so smaller differences say nothing.

    Parameters
    ----------
    model : nn.Module
        Next-token logits (batch, length, vocab).
    stories : list[list[int]]
        Tokens of each story.
    """
    targets = torch.tensor([token for story in stories for token in story[1:]])
    return F.nll_loss(log_probabilities(model, stories), targets, reduction="none")


def generate(
    model: Llama, tokens: list[int], length: int, generator: torch.Generator | None = None
) -> list[int]:
    """Continue `tokens` up to `length` of them or the next BOS.

    Parameters
    ----------
    model : Llama
        The language model.
    tokens : list[int]
        The beginning.
    length : int
        Length of the whole.
    generator : torch.Generator, optional
        To sample with; greedily without one.
    """
    told = continued(model, torch.tensor([tokens]), length, generator)[0].tolist()
    more = told[len(tokens) :]
    return tokens + more[: more.index(Tokenizer.BOS)] if Tokenizer.BOS in more else told


@torch.no_grad()
def continued(model: Llama, tokens: Tensor, length: int, generator: torch.Generator | None = None) -> Tensor:
    """Texts continued by the model itself, all at once, at temperature 1 or greedily: tokens (n, length).

    A story that ends early is followed by BOS and the next one, as in training. On such texts, drawn from BOS on,
    the expected cross-entropy of the model itself is its entropy, and what another model has above it is the KL
    divergence between the two.

    Parameters
    ----------
    model : Llama
        The language model.
    tokens : Tensor
        The beginning of each (n, tokens).
    length : int
        Length of the whole.
    generator : torch.Generator, optional
        To sample with; greedily without one.
    """
    while tokens.shape[1] < length:
        chances = model(tokens)[:, -1].softmax(-1)
        drawn = torch.multinomial(chances, 1, generator=generator) if generator else chances.argmax(1, True)
        tokens = torch.cat([tokens, drawn], 1)
    return tokens


def prune_language(
    model: Llama, method: str, sparsity: float, calibration: Tensor, seed: int = 0
) -> tuple[Llama, Masks]:
    """Prune the linear layers of each block, one block after the other; embedding and head stay whole.

    The inputs of a block are observed after the blocks before it were pruned, as in frantar2023sparsegpt and
    sun2024simple, so a method that repairs also makes up for earlier damage. Layer sparsities (owl) are
    decided once, on the dense model.

    Parameters
    ----------
    model : Llama
        The language model; it is not changed.
    method : str
        A name of the catalogue.
    sparsity : float
        Fraction to remove, in [0, 1).
    calibration : Tensor
        Tokens (n, length).
    seed : int, default 0
        Seed of what is drawn at random.

    Examples
    --------
    >>> model, tokenizer = load_stories()
    >>> tokens = windows([tokenizer.encode(text) for text in load_texts("evaluation")], 64)
    >>> _, masks = prune_language(model, "magnitude", 0.5, tokens)
    >>> len(masks), float(masks["blocks.0.feed_forward.up.weight"].float().mean())
    (35, 0.5)
    """
    chosen, pruned, masks = find(method), model, {}
    names = [name for name in prunable(model) if name.startswith("blocks.")]
    shares = dict.fromkeys(names, sparsity)
    if chosen.allocate:
        shares = chosen.allocate(collect(model, names, chosen.needs, [calibration], seed=seed), sparsity)
    scope = chosen.scope if chosen.scope == "row" else "layerwise"
    for block in (f"blocks.{index}" for index in range(len(model.blocks))):
        share = next(shares[name] for name in names if name.startswith(f"{block}."))
        result = prune(pruned, method, share, batches=[calibration], layers=[block], scope=scope, seed=seed)
        pruned = result.model
        masks |= result.masks
    return pruned, masks
