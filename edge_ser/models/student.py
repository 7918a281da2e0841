"""The streaming student: two branches, cross-attention, depth-weighted fusion."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_ser.labels import SIX_LABELS, check_labels
from edge_ser.models.layers import CausalConv, CrossAttention, GatedMemory

__all__ = ["Student", "StudentConfig", "StudentOutput"]


@dataclass(frozen=True)
class StudentConfig:
    """Shape of a student; stored with every checkpoint.

    A step is ``step_frames`` log-mel frames of 10 ms. The stem halves the frame rate to
    50 Hz, the trunk again to 25 Hz: a step has ``step_frames / 4`` tokens.
    """

    labels: tuple[str, ...] = SIX_LABELS
    domains: int = 1  # kinds of speech with votes of their own, see Student
    n_mels: int = 64
    step_frames: int = 8
    stem: int = 64  # channels of each branch at 50 Hz
    trunk: int = 112  # channels of each branch at 25 Hz
    heads: int = 7  # of the cross-attention, 16 channels each
    context: int = 64  # tokens of left context of the cross-attention, 2.56 s
    fused: int = 160  # channels after depth-weighted fusion
    span_tokens: float = 75.0  # heard tokens after which the memory has faded to 1/e, 3 s
    dropout: float = 0.1  # of whole channels of the trunk
    readout_dropout: float = 0.2  # of what the classifier sees

    def __post_init__(self) -> None:
        check_labels(self.labels)
        if self.step_frames % 4:
            raise ValueError(f"step_frames must be a multiple of 4, got {self.step_frames}")
        if self.domains < 1:
            raise ValueError(f"domains must be at least 1, got {self.domains}")

    @property
    def step_tokens(self) -> int:
        """Tokens of 40 ms in one step."""
        return self.step_frames // 4

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready copy."""
        return {**asdict(self), "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StudentConfig:
        """The configuration in ``values``; without ``domains``, one, as they all had once.

        Raises:
            ValueError: a key is unknown or missing, or a value makes no sense.
        """
        values = {"domains": 1, **values}
        wrong = sorted(set(values) ^ {field.name for field in fields(cls)})
        if wrong:
            raise ValueError(f"student configuration: key {wrong[0]!r} is unknown or missing")
        return cls(**{**values, "labels": tuple(values["labels"])})


class StudentOutput(NamedTuple):
    """What a student says of a batch of clips.

    Attributes:
        logits: ``(batch, steps, labels) float32``, one verdict on all that was heard so far
            per step.
        depths: ``(batch, 2 * trunk, tokens)`` features of both branches at the shallow,
            intermediate and high depth.
        fused: ``(batch, fused, tokens)`` the depth-weighted fusion.
        pooled: ``(batch, fused, steps)`` its running mean, which the classifier sees.
    """

    logits: Tensor
    depths: tuple[Tensor, Tensor, Tensor]
    fused: Tensor
    pooled: Tensor

    @property
    def semantic(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(batch, trunk, tokens)``, the semantic branch's half of each depth."""
        shallow, middle, high = (depth.chunk(2, dim=1)[1] for depth in self.depths)
        return shallow, middle, high


class Student(nn.Module):
    """Log-mel frames in, one set of logits per step out, nothing of the future used.

    Shallow, intermediate and high-level features of both branches are fused and summed with
    learnt depth weights (after Kakuba and Han, ICUFN 2025); at the two upper depths the
    acoustic branch attends to the semantic one (after Deeb et al., IEEE Access 2025).

    With several domains the classifier votes on each label once for each kind of speech (each
    corpus that it learnt labels of), and the highest vote counts: anger on a stage and anger in
    a laboratory need not sound alike.
    """

    mel_mean: Tensor
    mel_scale: Tensor

    def __init__(self, config: StudentConfig, silence: float) -> None:
        super().__init__()
        c = config
        self.config, self.silence = config, silence
        self.register_buffer("mel_mean", torch.zeros(c.n_mels))
        self.register_buffer("mel_scale", torch.ones(c.n_mels))
        two: dict[str, Any] = {"groups": 2}
        self.shallow = nn.ModuleList(
            (
                CausalConv(c.n_mels, 2 * c.stem, 5, stride=2),
                CausalConv(2 * c.stem, 2 * c.stem, 5, shortcut=True, **two),
                CausalConv(2 * c.stem, 2 * c.trunk, 3, stride=2, **two),
            )
        )
        self.middle = nn.ModuleList(
            CausalConv(2 * c.trunk, 2 * c.trunk, 3, dilation=d, shortcut=True, **two)
            for d in (1, 2)
        )
        self.middle_attention = CrossAttention(c.trunk, c.heads, c.context, c.step_tokens)
        self.high = nn.ModuleList(
            CausalConv(2 * c.trunk, 2 * c.trunk, 3, dilation=d, shortcut=True, **two)
            for d in (4, 8)
        )
        self.high_attention = CrossAttention(c.trunk, c.heads, c.context, c.step_tokens)
        # Fusion at each depth, then the sum weighted by softmax(depth_logits).
        self.fuse_shallow = nn.Conv1d(2 * c.trunk, c.fused, 1, bias=False)
        self.fuse_middle = nn.Conv1d(3 * c.trunk, c.fused, 1, bias=False)
        self.fuse_high = nn.Conv1d(3 * c.trunk, c.fused, 1, bias=False)
        self.depth_logits = nn.Parameter(torch.zeros(3))
        self.fuse_norm = nn.BatchNorm1d(c.fused)
        self.memory = GatedMemory(c.fused, c.step_tokens, c.span_tokens)
        self.classifier = nn.Conv1d(c.fused, c.domains * len(c.labels), 1)

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        """Standardise the input with per-mel statistics ``(n_mels,)`` of the training set."""
        self.mel_mean.copy_(mean)
        self.mel_scale.copy_(1.0 / deviation.clamp(min=1e-3))

    @property
    def readouts(self) -> nn.ModuleList:
        """The last layer, off which the verdict is read."""
        return nn.ModuleList([self.classifier])

    def depth_weights(self) -> Tensor:
        """Weights of the shallow, intermediate and high depth, three that sum to 1."""
        return torch.softmax(self.depth_logits, dim=0)

    def forward(self, mel: Tensor, context: int | None = None) -> StudentOutput:
        """Run over whole clips.

        Args:
            mel: ``(batch, n_mels, frames) float32`` log-mel; frames a multiple of
                ``step_frames``.
            context: shorter left context of the attention, in tokens (training only).
        """
        c = self.config
        if mel.shape[-1] % c.step_frames:
            raise ValueError(f"{mel.shape[-1]} frames are no multiple of {c.step_frames}")
        x = (mel - self.mel_mean[:, None]) * self.mel_scale[:, None]
        before = ((self.silence - self.mel_mean) * self.mel_scale)[None, :, None]
        stem, *rest = self.shallow
        shallow = stem(x, before)
        for layer in rest:
            shallow = layer(shallow)
        middle = shallow = self._drop(shallow)
        for layer in self.middle:
            middle = layer(middle)
        middle = self._drop(middle)
        high = middle
        for layer in self.high:
            high = layer(high)
        high = self._drop(high)

        acoustic, semantic = middle.chunk(2, dim=1)
        middle_cross = self.middle_attention(acoustic, semantic, context)
        acoustic_high, semantic_high = high.chunk(2, dim=1)
        high_cross = self.high_attention(acoustic_high, semantic_high, context)
        weights = self.depth_weights()
        fused = (
            weights[0] * self.fuse_shallow(shallow)
            + weights[1] * self.fuse_middle(torch.cat([middle, middle_cross], dim=1))
            + weights[2] * self.fuse_high(torch.cat([high, high_cross], dim=1))
        )
        fused = F.relu(self.fuse_norm(fused))
        pooled = self.memory(fused)
        votes = self.classifier(F.dropout(pooled, c.readout_dropout, self.training))
        logits = votes.unflatten(1, (c.domains, len(c.labels))).amax(1)
        return StudentOutput(
            logits.transpose(1, 2),
            (shallow, middle, high),
            fused,
            pooled,
        )

    def _drop(self, x: Tensor) -> Tensor:
        """Drop whole channels, the same over all time."""
        return F.dropout1d(x, self.config.dropout, self.training)
