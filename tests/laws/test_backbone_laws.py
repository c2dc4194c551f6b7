"""What holds for layers, blocks and backbones, whatever their weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xlstmd.models.presets import mixed_blocks, xlstm_blocks
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.config import (
    BackboneConfig,
    MLSTMBlockConfig,
    PreUpMLSTMBlockConfig,
    SLSTMBlockConfig,
)
from xlstmd.nn.state import BackboneState

WIDTH, HEADS = 16, 2
CHOICES = (
    SLSTMBlockConfig(width=WIDTH, num_heads=HEADS),
    SLSTMBlockConfig(width=WIDTH, num_heads=HEADS, conv_window=0, norm="rms", forget_gate="exp"),
    SLSTMBlockConfig(width=WIDTH, num_heads=HEADS, conv_window=1, gate_soft_cap=10.0),
    MLSTMBlockConfig(width=WIDTH, num_heads=HEADS),
    MLSTMBlockConfig(width=WIDTH, num_heads=HEADS, qk_ratio=1.0, gate_soft_cap=None, norm="layer"),
    PreUpMLSTMBlockConfig(width=WIDTH, num_heads=HEADS, multiple_of=8),
)


def make_backbone(blocks, seed=0):
    """Gives a backbone in float64 whose every weight is random."""
    torch.manual_seed(seed)
    backbone = Backbone(BackboneConfig(width=WIDTH, blocks=tuple(blocks))).double()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return backbone


def start(backbone, rows):
    return backbone.init_state(rows).mapped(torch.Tensor.double)


def assert_same(first, second, tolerance=1e-10):
    torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance)


def assert_same_state(first, second):
    for one, other in zip(first.tensors(), second.tensors(), strict=True):
        assert_same(one, other)


stacks = st.lists(st.sampled_from(CHOICES), min_size=1, max_size=8)


@given(blocks=stacks, seed=st.integers(0, 99), data=st.data())
def test_forward_equals_chunks_equals_repeated_step(blocks, seed, data):
    backbone = make_backbone(blocks, seed)
    steps = data.draw(st.integers(1, 24))
    x = torch.randn(3, steps, WIDTH, dtype=torch.float64)
    whole, end = backbone(x, start(backbone, 3))

    state, parts, at = start(backbone, 3), [], 0
    while at < steps:
        size = data.draw(st.integers(1, steps))
        out, state = backbone(x[:, at : at + size], state)
        parts.append(out)
        at += size
    assert_same(torch.cat(parts, dim=1), whole)
    assert_same_state(state, end)

    state, parts = start(backbone, 3), []
    for t in range(steps):
        out, state = backbone.step(x[:, t], state)
        parts.append(out)
    assert_same(torch.stack(parts, dim=1), whole)
    assert_same_state(state, end)


@given(blocks=stacks, data=st.data())
def test_reset_forgets_everything(blocks, data):
    backbone = make_backbone(blocks)
    steps = data.draw(st.integers(2, 20))
    cut = data.draw(st.integers(1, steps - 1))
    x = torch.randn(2, steps, WIDTH, dtype=torch.float64)
    reset = torch.zeros(2, steps, dtype=torch.bool)
    reset[:, cut] = True
    out, end = backbone(x, start(backbone, 2), reset=reset)
    fresh, fresh_end = backbone(x[:, cut:], start(backbone, 2))
    assert_same(out[:, cut:], fresh)
    assert_same_state(end, fresh_end)


@given(blocks=stacks, left=st.integers(0, 9), right=st.integers(0, 9))
def test_padding_changes_nothing(blocks, left, right):
    backbone = make_backbone(blocks)
    x = torch.randn(2, 7, WIDTH, dtype=torch.float64)
    padded = torch.randn(2, left + 7 + right, WIDTH, dtype=torch.float64)
    padded[:, left : left + 7] = x
    valid = torch.zeros(2, left + 7 + right, dtype=torch.bool)
    valid[:, left : left + 7] = True
    out, end = backbone(padded, start(backbone, 2), valid=valid)
    plain, plain_end = backbone(x, start(backbone, 2))
    assert_same(out[:, left : left + 7], plain)
    assert_same_state(end, plain_end)


@given(blocks=stacks)
def test_batch_rows_are_independent(blocks):
    backbone = make_backbone(blocks)
    x = torch.randn(5, 9, WIDTH, dtype=torch.float64)
    together, end = backbone(x, start(backbone, 5))
    order = torch.randperm(5)
    permuted, _ = backbone(x[order], start(backbone, 5))
    assert_same(permuted, together[order])
    alone, alone_end = backbone(x[2:3], start(backbone, 1))
    assert_same(alone[0], together[2])
    assert_same_state(end.rows([2]), alone_end)


@given(blocks=stacks)
def test_future_does_not_change_past_and_nothing_is_modified(blocks):
    backbone = make_backbone(blocks)
    x = torch.randn(2, 8, WIDTH, dtype=torch.float64)
    _, state = backbone(x, start(backbone, 2))
    kept, copy = state.mapped(torch.clone), x.clone()
    out, _ = backbone(x, state)
    changed = x.clone()
    changed[:, 5:] += 1.0
    other, _ = backbone(changed, state)
    assert_same(out[:, :5], other[:, :5])
    backbone.step(x[:, 0], state)
    for one, same in zip(state.tensors(), kept.tensors(), strict=True):
        assert torch.equal(one, same)
    assert torch.equal(x, copy)


@given(blocks=stacks)
def test_state_survives_flattening_and_stacking(blocks):
    backbone = make_backbone(blocks)
    _, state = backbone(torch.randn(4, 6, WIDTH, dtype=torch.float64), start(backbone, 4))
    again = start(backbone, 1).from_flat(state.to_flat())
    assert isinstance(again, BackboneState)
    assert_same_state(again, state)
    assert_same_state(BackboneState.stacked([state.rows([i]) for i in range(4)]), state)


def test_gradient_reaches_the_state_and_every_parameter():
    backbone = make_backbone(CHOICES)
    state = start(backbone, 2).mapped(lambda t: (t + 0.1).requires_grad_())
    out, end = backbone(torch.randn(2, 5, WIDTH, dtype=torch.float64), state)
    (out.square().sum() + end.to_flat().square().sum()).backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for tensor in state.tensors():
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


def test_config_round_trip():
    for blocks in (CHOICES, mixed_blocks(WIDTH, HEADS, "sms"), xlstm_blocks(WIDTH, HEADS, 7, (1,))):
        config = BackboneConfig(width=WIDTH, blocks=tuple(blocks))
        assert BackboneConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("gate", ["input_gate", "forget_gate", "cell_input", "output_gate"])
def test_each_gate_weight_drives_its_own_gate(gate):
    backbone = make_backbone([SLSTMBlockConfig(width=WIDTH, num_heads=HEADS, conv_window=0)])
    layer = backbone.blocks[0].layer
    order = ("input_gate", "forget_gate", "cell_input", "output_gate")
    x = torch.randn(2, 3, WIDTH, dtype=torch.float64)
    before = layer._preacts(x, x)
    with torch.no_grad():
        getattr(layer, gate).weight.zero_()
    changed = (layer._preacts(x, x) - before).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert changed.tolist() == [name == gate for name in order]
