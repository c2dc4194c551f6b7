"""The operations against numbers from an independent source (see PROVENANCE.md)."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden import make_golden
from tests.ops.cases import OPS
from tests.tolerances import GOLDEN, assert_close, assert_gradients_close
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.state import ConvState, MLSTMState, SLSTMState

FOLDER = Path(__file__).parent
STATES = {"mlstm": MLSTMState, "slstm": SLSTMState, "conv": ConvState}
OPTIONS = {
    "mlstm_ours": MLSTMOptions(),
    "mlstm_imported": MLSTMOptions(eps=1e-6, stabilizer_start=0.0, gate_soft_cap=15.0),
    "slstm_sigmoid": SLSTMOptions(),
    "slstm_exp": SLSTMOptions(forget_gate="exp"),
    "slstm_sigmoid_capped": SLSTMOptions(gate_soft_cap=1.5),
    "conv": None,
}
CASES = [
    pytest.param(name, form.module, id=f"{name}-{form.name}")
    for name in OPTIONS
    for form in OPS[name.split("_")[0]].IMPLEMENTATIONS
]


def read(name, prefix):
    """Gives all arrays of one kind, by name, in the order in which they were written."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {
            key.removeprefix(prefix): torch.from_numpy(file[key])
            for key in file.files
            if key.startswith(prefix)
        }


def run(name, module, tensors, reset):
    """Gives the output and every part of the final state, by name."""
    op, state = name.split("_")[0], STATES[name.split("_")[0]]
    start = state(*(tensors[field] for field in state._fields))
    content = [x for key, x in tensors.items() if key not in state._fields]
    options = [] if OPTIONS[name] is None else [OPTIONS[name]]
    assert op in module
    y, end = import_module(module).sequence(*content, start, *options, reset)
    return {"output": y} | end._asdict()


@pytest.mark.parametrize(("name", "module"), CASES)
def test_outputs_and_state_are_the_golden_ones(name, module):
    reset = read(name, "reset")[""]
    found = run(name, module, read(name, "in_"), reset)
    for field, expected in read(name, "out_").items():
        assert_close(found[field], expected, GOLDEN.outputs, field)


@pytest.mark.parametrize(("name", "module"), CASES)
def test_gradients_are_the_golden_ones(name, module):
    tensors = {key: x.requires_grad_() for key, x in read(name, "in_").items()}
    found = run(name, module, tensors, read(name, "reset")[""])
    readouts = read(name, "readout_")
    loss = sum((readouts[field] * found[field]).sum() for field in readouts)
    gradients = torch.autograd.grad(loss, list(tensors.values()))
    assert_gradients_close(
        dict(zip(tensors, gradients, strict=True)), read(name, "grad_"), GOLDEN.gradients
    )


def test_golden_files_are_what_the_script_writes(tmp_path):
    make_golden.main(tmp_path)
    files = sorted(tmp_path.glob("*.npz"))
    assert [file.name for file in files] == sorted(file.name for file in FOLDER.glob("*.npz"))
    for file in files:
        with np.load(file) as fresh, np.load(FOLDER / file.name) as stored:
            assert fresh.files == stored.files
            for key in fresh.files:
                np.testing.assert_allclose(fresh[key], stored[key], rtol=1e-9, atol=1e-12)


def test_golden_files_are_small():
    assert sum(file.stat().st_size for file in FOLDER.glob("*.npz")) <= 100_000


def test_script_does_not_know_the_package():
    source = (FOLDER / "make_golden.py").read_text()
    assert not any(f"{word} xlstmd" in source for word in ("import", "from"))
