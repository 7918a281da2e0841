"""Layers against what they say of themselves: folding, masks, gated memory."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="models need torch")

from edge_ser.models.layers import CausalConv, CrossAttention, GatedMemory


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def lived_in(layer: CausalConv) -> CausalConv:
    """The layer in evaluation mode, with batch norms that are no identities."""
    for norm in (layer.norm, layer.shortcut_norm):
        if norm is not None:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.3, 3.0)
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.normal_(norm.bias)
    return layer.eval()


@pytest.mark.parametrize(
    ("kernel", "dilation", "groups", "shortcut", "stride"),
    [
        (1, 1, 1, False, 1),
        (5, 1, 1, False, 2),
        (5, 1, 2, True, 1),
        (3, 1, 2, False, 2),
        (3, 1, 2, True, 1),
        (3, 8, 2, True, 1),
        (3, 4, 1, False, 1),
    ],
)
def test_one_folded_convolution_does_the_work_of_all(
    kernel: int, dilation: int, groups: int, shortcut: bool, stride: int
) -> None:
    sizes = {"stride": stride, "dilation": dilation, "groups": groups}
    layer = lived_in(CausalConv(8, 8, kernel, shortcut=shortcut, **sizes))
    x = torch.randn(3, 8, 24)
    weight, bias = layer.folded()
    padded = torch.nn.functional.pad(x, (layer.history, 0))
    folded = torch.relu(
        torch.nn.functional.conv1d(
            padded, weight, bias, stride=stride, dilation=dilation, groups=groups
        )
    )
    torch.testing.assert_close(folded, layer(x), atol=1e-5, rtol=1e-5)


def test_a_convolution_sees_only_the_past_and_all_of_its_history() -> None:
    layer = lived_in(CausalConv(4, 4, 3, dilation=4))
    x = torch.randn(1, 4, 40)
    changed = x.clone()
    changed[..., 20] += 1.0
    differs = (layer(x) != layer(changed)).any(dim=1)[0].nonzero()[:, 0].tolist()
    assert set(differs) <= {20, 24, 28}
    assert layer.history == 8


def test_the_past_may_be_given() -> None:
    layer = lived_in(CausalConv(4, 6, 5, stride=2))
    x = torch.randn(2, 4, 32)
    whole = layer(x)
    second = layer(x[..., 16:], x[:, :, 16 - layer.history : 16])
    torch.testing.assert_close(second, whole[..., 8:])


def test_a_shortcut_needs_equal_shapes() -> None:
    with pytest.raises(ValueError, match="equal channels"):
        CausalConv(4, 8, 3, shortcut=True)
    with pytest.raises(ValueError, match="heads"):
        CrossAttention(10, 4, 8, 2)


def naive_attention(
    layer: CrossAttention, own: torch.Tensor, other: torch.Tensor, reach: int
) -> torch.Tensor:
    """Token by token, as the docstring says it."""
    q, kv = layer.query(own)[0], layer.key_value(other)[0]
    k, v = kv.chunk(2)
    out = torch.zeros_like(q)
    size = q.shape[0] // layer.heads
    for token in range(q.shape[1]):
        begin = token // layer.step_tokens * layer.step_tokens
        keys = range(begin - reach, begin + layer.step_tokens)
        for head in range(layer.heads):
            rows = slice(head * size, (head + 1) * size)
            zero = torch.zeros(size)
            past = torch.stack([k[rows, j] if j >= 0 else zero for j in keys])
            values = torch.stack([v[rows, j] if j >= 0 else zero for j in keys])
            share = torch.softmax(past @ q[rows, token] * layer.scale, dim=0)
            out[rows, token] = share @ values
    return out


@pytest.mark.parametrize(("context", "step", "reach"), [(6, 2, None), (8, 4, 3), (4, 1, 0)])
def test_attention_is_what_its_docstring_says(context: int, step: int, reach: int | None) -> None:
    layer = CrossAttention(8, 2, context, step).eval()
    own, other = torch.randn(1, 8, 24), torch.randn(1, 8, 24)
    expected = naive_attention(layer, own, other, context if reach is None else reach)
    torch.testing.assert_close(layer(own, other, reach)[0], expected, atol=1e-5, rtol=1e-5)


def test_attention_sees_its_context_and_its_step_and_no_more() -> None:
    layer = CrossAttention(8, 2, context=6, step_tokens=2).eval()
    own, other = torch.randn(1, 8, 32), torch.randn(1, 8, 32)
    for moved in (0, 7, 20, 31):
        changed = other.clone()
        changed[..., moved] += 1.0
        differs = (layer(own, other) != layer(own, changed)).any(dim=1)[0]
        step = moved // 2 * 2
        seen = [t for t in range(32) if step <= t and t // 2 * 2 - 6 <= moved]
        assert differs.nonzero()[:, 0].tolist() == seen


def naive_memory(layer: GatedMemory, x: torch.Tensor) -> torch.Tensor:
    gate = torch.sigmoid(layer.gate(x))
    memory, columns = None, []
    for start in range(0, x.shape[2], layer.step_tokens):
        part = slice(start, start + layer.step_tokens)
        g = gate[..., part]
        new = torch.cat([x[..., part] * g, g], dim=1).sum(-1)
        keep = torch.exp(-g.sum(-1) / layer.span_tokens)
        memory = new if memory is None else memory * keep + new
        columns.append(memory)
    return layer.mean(torch.stack(columns, dim=-1))


def test_memory_over_a_clip_is_memory_step_by_step() -> None:
    layer = GatedMemory(6, 2, 12.0).eval()
    x = torch.relu(torch.randn(3, 6, 80))
    torch.testing.assert_close(layer(x), naive_memory(layer, x), atol=1e-5, rtol=1e-4)


def test_a_closed_gate_neither_dilutes_nor_erases() -> None:
    layer = GatedMemory(4, 2, 20.0).eval()
    with torch.no_grad():
        layer.gate.weight.zero_()
        layer.gate.weight[0, 0] = 50.0
        layer.gate.bias.fill_(-25.0)
    speech = torch.rand(1, 4, 20) + 1.0
    pause = torch.zeros(1, 4, 400)
    after = layer(torch.cat([speech, pause], dim=2))
    torch.testing.assert_close(after[..., -1], after[..., 9], atol=1e-4, rtol=1e-4)
