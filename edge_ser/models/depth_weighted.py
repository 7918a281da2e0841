"""Multi-layer depth-weighted fusion of two feature branches, as a whole-utterance model."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edge_ser.labels import SIX_LABELS, check_labels
from edge_ser.models.utterance import (
    AttentivePool,
    Standardise,
    TransformerBlock,
    check_width,
    halve_mask,
    positions,
)

__all__ = ["DEPTHS", "DepthWeightedConfig", "DepthWeightedModel"]

DEPTHS = ("shallow", "intermediate", "high")


@dataclass(frozen=True)
class DepthWeightedConfig:
    """Shape of the model; the defaults are the reconstruction at full size.

    The publication tells no sizes: these are ours. Dropout is left to the recipe.

    Attributes:
        spectral_rows: rows of the spectral branch (log-mel), 0 to leave the branch out.
        cepstral_rows: rows of the cepstral and voice-quality branch, 0 to leave it out.
        semantic_layers: hidden states of a pretrained speech encoder that make a semantic
            branch, 0 to leave it out.
        semantic_width: values of each of its states.
        semantic_rate_hz: states of a second.
        fusion: ``parallel`` sums the depths, ``progressive`` feeds each fused depth into the
            next one's fusion as well.
        depth_weights: ``static`` for learnt constants, ``dynamic`` for weights that each
            utterance decides, ``uniform`` for none.
        depths: the depths that are fused; one alone is an early, intermediate or late
            fusion baseline.
    """

    labels: tuple[str, ...] = SIX_LABELS
    spectral_rows: int = 64
    cepstral_rows: int = 60
    semantic_layers: int = 0
    semantic_width: int = 0
    semantic_rate_hz: float = 50.0
    stem: int = 64
    width: int = 128
    heads: int = 4
    feed_forward: int = 256
    blocks: int = 2
    fusion: str = "parallel"
    depth_weights: str = "static"
    depths: tuple[str, ...] = DEPTHS
    hidden: int = 64
    dropout: float = 0.0
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_labels(self.labels)
        check_width(self.width, self.heads)
        for name, value, known in (
            ("fusion", self.fusion, ("parallel", "progressive")),
            ("depth_weights", self.depth_weights, ("static", "dynamic", "uniform")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if not self.depths or self.depths != tuple(d for d in DEPTHS if d in self.depths):
            raise ValueError(
                f"depths must be some of {', '.join(DEPTHS)} in this order, each once; "
                f"got {', '.join(self.depths) or 'none'}"
            )
        if not self.spectral_rows and not self.cepstral_rows and not self.semantic_layers:
            raise ValueError("at least one branch is needed")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "labels": list(self.labels), "depths": list(self.depths)}


class Squeeze(nn.Module):
    """Channel attention from the mean over the clip (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(batch, channels, frames)``, each channel scaled."""
        m = mask[:, None].to(x.dtype)
        mean = (x * m).sum(-1) / m.sum(-1).clamp(min=1.0)
        scaled: Tensor = x * self.weigh(mean)[..., None]
        return scaled


class Branch(nn.Module):
    """One feature branch: attentive CNN, transformer encoder, BiLSTM."""

    def __init__(self, rows: int, c: DepthWeightedConfig) -> None:
        super().__init__()
        self.standardise = Standardise(rows)
        widths = (rows, c.stem, c.width, c.width)
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv1d(a, b, 5, padding=2, bias=False), nn.BatchNorm1d(b), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        )
        self.squeezes = nn.ModuleList(Squeeze(width) for width in widths[1:])
        self.transformer = nn.ModuleList(
            TransformerBlock(c.width, c.heads, c.feed_forward, c.dropout) for _ in range(c.blocks)
        )
        # Two directions of their own, for the way back starts where each clip ends. Packing
        # does the same for one bidirectional layer and takes twice as long on a CPU.
        self.ahead = nn.LSTM(c.width, c.width // 2, batch_first=True)
        self.back = nn.LSTM(c.width, c.width // 2, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """Shallow, intermediate and high features ``(batch, tokens, width)`` and their mask."""
        x = self.standardise(x) * mask[:, None]
        for index, (convolve, squeeze) in enumerate(
            zip(self.convolutions, self.squeezes, strict=True)
        ):
            x = squeeze(convolve(x), mask) * mask[:, None]
            if index < 2:
                x = nn.functional.max_pool1d(x, 2, ceil_mode=True)
                mask = halve_mask(mask)
        shallow = x.transpose(1, 2)
        middle = shallow + positions(shallow.shape[1], shallow.shape[2], x.device)
        for block in self.transformer:
            middle = block(middle, mask)
        time = torch.arange(mask.shape[1], device=mask.device)
        turned = mask.sum(1, keepdim=True) - 1 - time
        turned = torch.where(turned >= 0, turned, time)[..., None].expand_as(middle)
        back, _ = self.back(middle.gather(1, turned))
        back = back.gather(1, turned[..., : back.shape[2]])
        high = torch.cat([self.ahead(middle)[0], back], dim=2)
        return [shallow, middle, high], mask


class SemanticInput(nn.Module):
    """States of a frozen speech encoder as rows at the frame rate of the other branches."""

    def __init__(self, c: DepthWeightedConfig) -> None:
        super().__init__()
        self.standardise = Standardise(c.semantic_layers * c.semantic_width)
        self.layer_logits = nn.Parameter(torch.zeros(c.semantic_layers))
        self.project = nn.Linear(c.semantic_width, c.width)
        self.per_frame = c.semantic_rate_hz / 100.0

    def forward(self, states: Tensor, mask: Tensor, frames: int) -> Tensor:
        """``(batch, layers, values, n)`` to ``(batch, width, frames)``, linear in between.

        Args:
            states: of the encoder.
            mask: ``(batch, n) bool``, true within the clip; its last state holds on beyond.
            frames: of 10 ms.
        """
        level = self.standardise(states.flatten(1, 2)).reshape(states.shape)
        mixed = torch.einsum("l,blwt->btw", torch.softmax(self.layer_logits, dim=0), level)
        rows = self.project(mixed).transpose(1, 2)
        centres = (torch.arange(frames, device=rows.device) + 0.5) * self.per_frame - 0.5
        last = mask.sum(1, keepdim=True) - 1
        place = torch.minimum(centres.clamp(min=0.0).expand(len(rows), -1), last.to(rows.dtype))
        before = place.long()
        after = torch.minimum(before + 1, last)
        shape = (-1, rows.shape[1], -1)
        left = rows.gather(2, before[:, None].expand(shape))
        right = rows.gather(2, after[:, None].expand(shape))
        return torch.lerp(left, right, (place - before)[:, None])


class DepthWeightedModel(nn.Module):
    """A reconstruction of multi-layer depth-weighted fusion (Kakuba and Han, ICUFN 2025).

    Public are: two branches of features; attentive CNN, transformer and bidirectional LSTM;
    fusion at the shallow, intermediate and high level with depth weights. Features, sizes
    and the form of the weights are ours; what the text leaves open is an option. A semantic
    branch, of a frozen speech encoder's states, is our addition.
    """

    def __init__(self, config: DepthWeightedConfig) -> None:
        super().__init__()
        c = self.config = config
        self.spectral = Branch(c.spectral_rows, c) if c.spectral_rows else None
        self.cepstral = Branch(c.cepstral_rows, c) if c.cepstral_rows else None
        self.semantic_input = SemanticInput(c) if c.semantic_layers else None
        self.semantic = Branch(c.width, c) if c.semantic_layers else None
        branches = (self.spectral, self.cepstral, self.semantic)
        n_branches = sum(branch is not None for branch in branches)
        self.levels = [DEPTHS.index(depth) for depth in c.depths]
        self.fuse = nn.ModuleList()
        self.pools = nn.ModuleList()
        for position in range(len(self.levels)):
            carried = c.fusion == "progressive" and position > 0
            self.fuse.append(
                nn.Sequential(
                    nn.Linear((n_branches + carried) * c.width, c.width),
                    nn.ReLU(),
                    nn.LayerNorm(c.width),
                )
            )
            self.pools.append(AttentivePool(c.width))
        self.depth_logits = nn.Parameter(
            torch.zeros(len(self.levels)), requires_grad=c.depth_weights == "static"
        )
        self.decide = (
            nn.Linear(c.width * len(self.levels), len(self.levels))
            if c.depth_weights == "dynamic"
            else None
        )
        self.head = nn.Sequential(
            nn.Dropout(c.head_dropout),
            nn.Linear(c.width, c.hidden),
            nn.ReLU(),
            nn.Dropout(c.head_dropout),
            nn.Linear(c.hidden, len(c.labels)),
        )

    def forward(
        self,
        spectral: Tensor,
        cepstral: Tensor,
        spectral_mask: Tensor,
        cepstral_mask: Tensor,
        semantic: Tensor | None = None,
        semantic_mask: Tensor | None = None,
    ) -> Tensor:
        """Logits ``(batch, labels)`` of whole clips.

        Args:
            spectral: ``(batch, spectral_rows, frames) float32`` at 100 Hz.
            cepstral: ``(batch, cepstral_rows, frames) float32``, same frames.
            spectral_mask: ``(batch, frames) bool``, true within the clip.
            cepstral_mask: ``(batch, frames) bool``, the same.
            semantic: ``(batch, layers, values, states) float32`` at the encoder's own rate,
                where the model has such a branch.
            semantic_mask: ``(batch, states) bool``.
        """
        rows = None
        if self.semantic_input is not None:
            if semantic is None or semantic_mask is None:
                raise ValueError("this model needs the states of a speech encoder")
            rows = self.semantic_input(semantic, semantic_mask, spectral.shape[2])
        found, mask = [], spectral_mask
        for branch, x, own_mask in (
            (self.spectral, spectral, spectral_mask),
            (self.cepstral, cepstral, cepstral_mask),
            (self.semantic, rows, spectral_mask),
        ):
            if branch is not None and x is not None:
                features, mask = branch(x, own_mask)
                found.append(features)
        pooled: list[Tensor] = []
        carried: Tensor | None = None
        for level, fuse, pool in zip(self.levels, self.fuse, self.pools, strict=True):
            parts = [features[level] for features in found]
            if self.config.fusion == "progressive" and carried is not None:
                parts.append(carried)
            carried = fuse(torch.cat(parts, dim=-1))
            pooled.append(pool(carried, mask))
        weights = self.depth_weights(pooled)
        mixed = (weights[..., None] * torch.stack(pooled, dim=1)).sum(1)
        logits: Tensor = self.head(mixed)
        return logits

    def depth_weights(self, pooled: list[Tensor]) -> Tensor:
        """Weights ``(batch, depths)``, or ``(1, depths)`` where they are constant."""
        if self.decide is not None:
            return torch.softmax(self.decide(torch.cat(pooled, dim=1)), dim=1)
        return torch.softmax(self.depth_logits, dim=0)[None]
