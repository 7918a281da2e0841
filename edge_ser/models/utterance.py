"""Layers that the whole-utterance models share: standardising, masking, attentive pooling.

Sequences are ``(batch, frames, channels) float32`` with a mask ``(batch, frames) bool`` that
is true where a clip has sound; frames beyond its end never influence a prediction. (In
training they are among the frames over which batch norms find their statistics.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = [
    "AttentivePool",
    "Standardise",
    "TransformerBlock",
    "check_width",
    "halve_mask",
    "pool_frames",
    "pool_tokens",
    "positions",
]


def check_width(width: int, heads: int) -> None:
    """Refuse a ``width`` that attention or the positions cannot be made for.

    Raises:
        ValueError: it is odd, or ``heads`` do not divide it.
    """
    if width % heads or width % 2:
        raise ValueError(f"width {width} must be even and split into {heads} heads")


class Standardise(nn.Module):
    """Zero mean and unit deviation per row, with statistics of the training clips."""

    mean: Tensor
    scale: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(rows))
        self.register_buffer("scale", torch.ones(rows))

    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Take ``(rows,)`` statistics; rows that never change are left at zero."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 1e-6, 1.0 / deviation.clamp(min=1e-6), 0.0))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, rows, …)`` standardised and kept within 8 deviations."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return ((x - self.mean.view(shape)) * self.scale.view(shape)).clamp(-8.0, 8.0)


class TransformerBlock(nn.Module):
    """Multi-head attention and feed-forward layer, each behind a layer norm.

    What attention found is dropped out, not its weights: so torch can use its fused kernel,
    which took a third off a training step on a CPU.

    Args:
        cross: attend to another sequence instead of the own one.
    """

    def __init__(
        self, width: int, heads: int, feed_forward: int, dropout: float, *, cross: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.other_norm = nn.LayerNorm(width) if cross else None
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feed_forward),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feed_forward, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor, mask: Tensor, other: Tensor | None = None) -> Tensor:
        """``x`` ``(batch, frames, width)``; ``mask`` belongs to what is attended to."""
        query = self.norm(x)
        if (other is None) is not (self.other_norm is None):
            raise ValueError("another sequence is attended to by cross-attention and only by it")
        source = query if self.other_norm is None else self.other_norm(other)
        found, _ = self.attention(query, source, source, key_padding_mask=~mask, need_weights=False)
        x = x + self.drop(found)
        mixed: Tensor = x + self.feed_forward(x)
        return mixed


class AttentivePool(nn.Module):
    """Weighted mean over time, optionally with the weighted deviation beside it.

    The weights are a softmax over the scores of the frames (Okabe et al., Interspeech 2018).
    """

    def __init__(self, width: int, *, deviation: bool = False) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, 1)
        )
        self.deviation = deviation

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(batch, frames, width)`` to ``(batch, width)``, or twice the width."""
        scores = self.score(x)[..., 0].masked_fill(~mask, -math.inf)
        weights = torch.softmax(scores, dim=1)[..., None]
        mean = (weights * x).sum(1)
        if not self.deviation:
            return mean
        variance = (weights * (x - mean[:, None]) ** 2).sum(1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], dim=1)


def positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Sine and cosine positions ``(frames, width)`` (Vaswani et al., NeurIPS 2017)."""
    time = torch.arange(frames, device=device)[:, None]
    step = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    table = torch.zeros(frames, width, device=device)
    table[:, 0::2] = torch.sin(time * step)
    table[:, 1::2] = torch.cos(time * step)
    return table


def pool_tokens(x: Tensor, mask: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """Means of ``by`` neighbours in ``(…, tokens, width)`` that lie in the clip, and their mask.

    Args:
        x: values; the mask ``(batch, tokens)`` is spread over what lies between.
        mask: true within the clip.
        by: tokens that become one.
    """
    if by == 1:
        return x, mask
    short = -mask.shape[1] % by
    inside = nn.functional.pad(mask, (0, short))
    inside = inside.view(len(mask), -1, by)
    weights = inside.to(x.dtype)
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1.0)
    weights = weights.view(mask.shape[0], *(1,) * (x.ndim - 3), *weights.shape[1:], 1)
    grouped = nn.functional.pad(x, (0, 0, 0, short))
    grouped = grouped.reshape(*x.shape[:-2], -1, by, x.shape[-1])
    return (grouped * weights).sum(-2), inside.any(-1)


def pool_frames(x: Tensor, mask: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """As :func:`pool_tokens` for ``(batch, rows, frames)``, time last."""
    if by == 1:
        return x, mask
    short = -mask.shape[1] % by
    inside = nn.functional.pad(mask, (0, short)).view(len(mask), -1, by)
    count = inside.sum(-1).clamp(min=1)
    heard = nn.functional.pad(x * mask[:, None], (0, short))
    grouped = heard.reshape(*x.shape[:2], -1, by)
    return grouped.sum(-1) / count[:, None], inside.any(-1)


def halve_mask(mask: Tensor) -> Tensor:
    """The mask at half the frame rate; half-filled frames count as sound."""
    if mask.shape[1] % 2:
        mask = torch.cat([mask, torch.zeros_like(mask[:, :1])], dim=1)
    return mask[:, 0::2] | mask[:, 1::2]
