"""Which implementation is chosen, and what is said about the others."""

import pytest

from tests.ops.cases import OPS
from xlstmd.errors import BackendUnavailable, ConfigError
from xlstmd.ops import native_problem
from xlstmd.ops.native import NativeLibrary
from xlstmd.ops.selection import Implementation, Problem, select


def need_cuda(problem):
    return None if problem.device == "cuda" else f"needs a CUDA device, got {problem.device}"


IMPLEMENTATIONS = (
    Implementation(name="fast", module="xlstmd.ops.not_there", refuses=need_cuda),
    Implementation(name="plain", module="xlstmd.ops.conv.reference", refuses=lambda _: None),
)


def able(op):
    """Gives the implementations that can run here: the native one needs a compiled library."""
    return [form for form in OPS[op].IMPLEMENTATIONS if form.refuses(Problem()) is None]


@pytest.mark.parametrize("op", OPS)
def test_every_operation_ends_with_its_definition(op):
    assert OPS[op].IMPLEMENTATIONS[-1].name == "reference"


@pytest.mark.parametrize("op", OPS)
def test_best_implementation_is_chosen_and_offers_three_functions(op):
    chosen = select(op, OPS[op].IMPLEMENTATIONS, Problem())
    assert chosen.name == able(op)[0].name
    assert callable(chosen.init)
    assert callable(chosen.sequence)
    assert callable(chosen.step)
    refused = OPS[op].IMPLEMENTATIONS[: -len(able(op))]
    assert chosen.refusals == {form.name: form.refuses(Problem()) for form in refused}


@pytest.mark.parametrize("op", OPS)
def test_every_implementation_can_be_asked_for(op):
    for implementation in able(op):
        chosen = select(op, OPS[op].IMPLEMENTATIONS, Problem(), prefer=implementation.name)
        assert chosen.name == implementation.name


def test_refusal_is_kept_and_the_module_is_not_imported():
    chosen = select("conv", IMPLEMENTATIONS, Problem(device="cpu"))
    assert chosen.name == "plain"
    assert chosen.refusals == {"fast": "needs a CUDA device, got cpu"}


def test_no_silent_fallback_from_what_was_asked_for():
    with pytest.raises(BackendUnavailable, match="fast: needs a CUDA device, got cpu") as caught:
        select("conv", IMPLEMENTATIONS, Problem(device="cpu"), prefer="fast")
    assert caught.value.refusals == {"fast": "needs a CUDA device, got cpu"}


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="conv: expected auto or one of fast, plain, got quick"):
        select("conv", IMPLEMENTATIONS, Problem(), prefer="quick")


@pytest.mark.parametrize("op", OPS)
def test_half_precision_state_is_refused_with_a_reason(op):
    with pytest.raises(
        BackendUnavailable, match="float32 or float64 state, got bfloat16"
    ) as caught:
        select(op, OPS[op].IMPLEMENTATIONS, Problem(dtype="bfloat16"))
    assert set(caught.value.refusals) == {form.name for form in OPS[op].IMPLEMENTATIONS}


@pytest.mark.parametrize("op", OPS)
def test_native_form_says_why_it_cannot_run(op, monkeypatch):
    absent = NativeLibrary(library=None, reason="not built")
    monkeypatch.setattr(native_problem, "load_native", lambda: absent)
    native, second, *_ = OPS[op].IMPLEMENTATIONS
    assert native.refuses(Problem()) == "native library not built"
    assert native.refuses(Problem(device="cuda")) == "runs on a cpu, got cuda"
    chosen = select.__wrapped__(op, OPS[op].IMPLEMENTATIONS, Problem())
    assert chosen.name == second.name
    assert chosen.refusals == {"native": "native library not built"}
