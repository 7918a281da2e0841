"""Causal layers that run over a whole clip in training and step by step when deployed.

Layout is ``(batch, channels, time) float32``. The two branches lie side by side on the
channel axis (acoustic first, semantic second), so one grouped convolution serves both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CausalConv", "CrossAttention", "GatedMemory", "fold_batch_norm"]


class CausalConv(nn.Module):
    """Convolution over the past, batch norm, ReLU, with a shortcut that costs nothing later.

    The shortcut is added *before* the ReLU and is linear (as in RepVGG, Ding et al., CVPR
    2021), so ``folded`` merges convolution, both batch norms and shortcut into the weights
    of one convolution.

    Args:
        shortcut: add a batch-normalised identity; needs equal channels and stride 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        if shortcut and (c_in != c_out or stride != 1):
            raise ValueError("a shortcut needs equal channels and stride 1")
        self.conv = nn.Conv1d(
            c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm1d(c_out)
        self.shortcut_norm = nn.BatchNorm1d(c_out) if shortcut else None

    @property
    def history(self) -> int:
        """Input frames of earlier steps that the first output of a step still needs."""
        (kernel,), (stride,), (dilation,) = (
            self.conv.kernel_size,
            self.conv.stride,
            self.conv.dilation,
        )
        return (kernel - 1) * dilation - (stride - 1)

    def forward(self, x: Tensor, past: float | Tensor = 0.0) -> Tensor:
        """``(batch, c_in, t)`` to ``(batch, c_out, t / stride)``; ``past`` fills the history."""
        if isinstance(past, float):
            padded = F.pad(x, (self.history, 0), value=past)
        else:
            padded = torch.cat([past.expand(x.shape[0], -1, self.history), x], dim=-1)
        y = self.norm(self.conv(padded))
        if self.shortcut_norm is not None:
            y = y + self.shortcut_norm(x)
        return F.relu(y)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight ``(c_out, c_in / groups, kernel)`` and bias ``(c_out,)`` of one convolution."""
        weight, bias = fold_batch_norm(self.conv.weight, self.norm)
        if self.shortcut_norm is not None:
            per_group = weight.shape[1]
            identity = torch.zeros_like(weight)
            out = torch.arange(weight.shape[0])
            identity[out, out % per_group, -1] = 1.0
            extra, shift = fold_batch_norm(identity, self.shortcut_norm)
            weight, bias = weight + extra, bias + shift
        return weight, bias


def fold_batch_norm(weight: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Fold an evaluated batch norm into the bias-free convolution ``weight`` before it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return weight * scale[:, None, None], norm.bias - norm.running_mean * scale


class CrossAttention(nn.Module):
    """Multi-head attention of one branch over the recent past of the other.

    Every token of step ``s`` attends to the ``context`` tokens before the step and to all
    tokens of the step. Tokens before the start of the stream have zero key and value, which
    is what a zeroed ring buffer holds: they take a share of the softmax (as the extra one in
    the denominator of "softmax off by one" does) and need no mask.

    After Deeb, Savchenko and Makarov (IEEE Access 2025): queries from the acoustic branch,
    keys and values from the semantic one.
    """

    def __init__(self, channels: int, heads: int, context: int, step_tokens: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not split into {heads} heads")
        self.heads, self.context, self.step_tokens = heads, context, step_tokens
        self.query = nn.Conv1d(channels, channels, 1)
        self.key_value = nn.Conv1d(channels, 2 * channels, 1)

    @property
    def scale(self) -> float:
        """Factor on the scores, ``1 / sqrt(channels per head)``."""
        return float((self.query.out_channels // self.heads) ** -0.5)

    def forward(self, own: Tensor, other: Tensor, context: int | None = None) -> Tensor:
        """``own`` and ``other`` ``(batch, channels, tokens)`` to ``(batch, channels, tokens)``.

        Args:
            context: use a shorter left context than the deployed one (training only).
        """
        batch, channels, tokens = own.shape
        q = self.query(own).view(batch, self.heads, -1, tokens)
        k, v = self.key_value(other).view(batch, 2, self.heads, -1, tokens).unbind(1)
        k, v = F.pad(k, (self.context, 0)), F.pad(v, (self.context, 0))
        reach = self.context if context is None else context
        start = torch.arange(tokens, device=own.device) // self.step_tokens * self.step_tokens
        key = torch.arange(-self.context, tokens, device=own.device)
        visible = (key >= start[:, None] - reach) & (key < start[:, None] + self.step_tokens)
        out = F.scaled_dot_product_attention(
            q.transpose(2, 3), k.transpose(2, 3), v.transpose(2, 3), attn_mask=visible
        )
        return out.transpose(2, 3).reshape(batch, channels, tokens)


class GatedMemory(nn.Module):
    """Running mean that only listens where the gate opens.

    With ``g`` the sum of the gates of a step and ``x`` its gated features, the memory is
    ``m <- m * exp(-g / span) + x``: it fades with what is *heard*, not with time, so silence
    neither dilutes nor erases it, and it is bounded on endless streams.
    """

    def __init__(self, channels: int, step_tokens: int, span_tokens: float) -> None:
        super().__init__()
        self.step_tokens, self.span_tokens = step_tokens, span_tokens
        self.gate = nn.Conv1d(channels, 1, 1)
        # Before anything was heard the mean is ``rest``, which then counts for ``prior`` tokens.
        self.prior = 4.0
        self.rest = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, tokens)`` to ``(batch, channels, steps)`` means."""
        return self.mean(self.gathered(x, torch.sigmoid(self.gate(x))))

    def gathered(self, x: Tensor, gate: Tensor) -> Tensor:
        """The memory of ``x`` after each step, ``(batch, channels + 1, steps)``.

        Args:
            x: ``(batch, channels, tokens)``, of any number of channels.
            gate: ``(batch, 1, tokens)``, how much each token counts; the last row sums it.
        """
        batch, channels, _ = x.shape
        rows = torch.cat([x * gate, gate], dim=1)
        rows = rows.view(batch, channels + 1, -1, self.step_tokens).sum(-1)
        heard = rows[:, -1].cumsum(-1) / self.span_tokens
        # fade[b, s, r] = exp(heard_r - heard_s) for r <= s: what is left of step r at step s.
        fade = (heard[:, None, :] - heard[:, :, None]).clamp(max=0.0).exp().tril()
        return rows @ fade.transpose(1, 2)

    def mean(self, memory: Tensor) -> Tensor:
        """Means from ``(batch, channels + 1, steps)`` memory."""
        rest = self.rest[:, None] * self.prior
        return (memory[:, :-1] + rest) / (memory[:, -1:] + self.prior)
