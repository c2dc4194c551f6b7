"""What does not fit is refused before its address leaves Python."""

import gc
import inspect
import weakref
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.ops.cases import FLAVORS, draw_case, draw_mask, run
from xlstmd.errors import ShapeError
from xlstmd.nn.config import BackboneConfig, SLSTMBlockConfig
from xlstmd.nn.native_backbone import NativeBackbone
from xlstmd.nn.native_stepper import NativeStepper
from xlstmd.nn.parameters import parameter_shapes
from xlstmd.ops.linear import native as linear
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.mlstm.stepper import MLSTMStepper
from xlstmd.ops.native import load_native
from xlstmd.ops.native_linear import PackedLinear
from xlstmd.ops.native_two_layer_map import TwoLayerMap
from xlstmd.ops.state import MLSTMState

pytestmark = pytest.mark.skipif(load_native().library is None, reason=load_native().reason)

BY_OP = {flavor.op: flavor for flavor in FLAVORS}


def form_of(op):
    """Gives a form without the checks of shapes that only tests have."""
    form = import_module(f"xlstmd.ops.{op}.native")
    return SimpleNamespace(sequence=inspect.unwrap(form.sequence))


@pytest.mark.parametrize("op", BY_OP)
def test_every_tensor_of_another_shape_is_refused(op):
    case = draw_case(BY_OP[op], 0, 2, 5)
    names = case.leaves()
    for index, name in enumerate(names):
        if name == "input 0":
            continue
        places = iter(range(len(names)))
        wrong = case.mapped(lambda x, p=places, i=index: x[..., :-1] if next(p) == i else x)
        if [x.shape for x in wrong.leaves().values()] == [x.shape for x in names.values()]:
            continue
        with pytest.raises(ShapeError):
            run(form_of(op), wrong)


@pytest.mark.parametrize("op", BY_OP)
def test_masks_that_are_none_are_refused(op):
    case = draw_case(BY_OP[op], 0, 2, 5)
    with pytest.raises(ShapeError, match="reset"):
        run(form_of(op), case, draw_mask(0, 2, 4, 0.5))
    with pytest.raises(ShapeError, match="valid: expected booleans"):
        run(form_of(op), case, None, draw_mask(0, 2, 5, 0.5).long())


def test_maps_refuse_rows_of_another_width():
    with pytest.raises(ShapeError, match="x"):
        linear.sequence(torch.ones(3, 4), torch.ones(2, 5), None)
    with pytest.raises(ShapeError, match="bias"):
        linear.sequence(torch.ones(3, 5), torch.ones(2, 5), torch.ones(3))
    narrow = np.ones((3, 4), np.float32)
    with pytest.raises(ShapeError, match="x"):
        PackedLinear(np.ones((2, 5), np.float32))(narrow)
    sizes = {"up.weight": (6, 5), "up.bias": (6,), "down.weight": (2, 6), "down.bias": (2,)}
    sizes["skip.weight"] = (2, 5)
    weights = {name: np.ones(shape, np.float32) for name, shape in sizes.items()}
    with pytest.raises(ShapeError, match="x"):
        TwoLayerMap(weights, "silu")(narrow)


def make_backbone():
    config = BackboneConfig(width=8, blocks=(SLSTMBlockConfig(width=8, num_heads=2),))
    weights = {name: np.ones(shape, np.float32) for name, shape in parameter_shapes(config).items()}
    return NativeBackbone(config, weights)


def test_states_of_other_rows_are_refused():
    backbone = make_backbone()
    with pytest.raises(ShapeError, match="state"):
        backbone.prefill(np.ones((3, 2, 8), np.float32), backbone.init_state(2))


def test_stepper_outlives_what_its_attributes_pointed_to():
    backbone = make_backbone()
    into, out_of = (PackedLinear(np.ones((8, 8), np.float32), np.ones(8, np.float32)),) * 2
    arena = backbone.init_state(1)
    stepper = NativeStepper(backbone, arena, 1, input_map=into, output_map=out_of)
    first, out = stepper.x, stepper.y
    first[:] = 1.0
    kept = weakref.ref(into), weakref.ref(backbone), weakref.ref(arena)
    del backbone, into, out_of, arena
    gc.collect()
    assert all(one() is not None for one in kept)
    # The step still reads and writes the memory that it knows.
    stepper.x = stepper.y = np.zeros((1, 8), np.float32)
    stepper.step(1)
    assert np.isfinite(out).all()
    assert out.all()
    assert first.all()
    assert not stepper.y.any()


def matrix_state(**changed):
    """Gives a state of one memory, some parts another way."""
    shapes = {"matrix_memory": (1, 2, 4, 4), "normalizer": (1, 2, 4), "stabilizer": (1, 2)}
    parts = [changed.get(name, torch.zeros(shape)) for name, shape in shapes.items()]
    return MLSTMState(*parts)


@pytest.mark.parametrize(
    "changed",
    [
        {"normalizer": torch.zeros(1)},
        {"stabilizer": torch.zeros(1)},
        {"matrix_memory": torch.zeros(1, 2, 4, 4, device="meta")},
        {"normalizer": torch.zeros(1, 2, 4, dtype=torch.float64)},
        {"matrix_memory": torch.zeros(1, 2, 4, 4, requires_grad=True)},
    ],
)
def test_a_memory_that_does_not_fit_is_refused(changed):
    with pytest.raises(ShapeError):
        MLSTMStepper(matrix_state(**changed), MLSTMOptions())


def test_a_step_does_not_read_what_it_overwrites():
    stepper = MLSTMStepper(matrix_state(), MLSTMOptions())
    x, gate = torch.ones(1, 2, 4), torch.zeros(1, 2)
    out = stepper.step(x, x, x, gate, gate)
    with pytest.raises(ShapeError, match="a tensor of its own"):
        stepper.step(out, x, x, gate, gate)
