"""Turns, limits, parity and tables of the processor benchmark, with made-up candidates."""

import json
import math
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.cpu.__main__ import GROUPS, groups, main
from benchmarks.cpu.chart import charted, draw_chart
from benchmarks.cpu.limits import Limits, cache_bytes, working_sets
from benchmarks.cpu.measure import measure
from benchmarks.cpu.parity import difference, require
from benchmarks.cpu.start_up import Start, start_rows
from benchmarks.cpu.table import cpu_table, limits_lines
from benchmarks.cpu.timing import PAUSE_SECONDS, Budget, Timing, interleave
from benchmarks.cpu.weights import (
    large_backbone,
    paper_backbone,
    recurrent_to_tirex,
    recurrent_to_xlstm,
    tirex_backbone,
)
from benchmarks.cpu.workload import (
    BEST,
    TOLERANCE,
    Candidate,
    Cost,
    Plan,
    Work,
    ours_by_precision,
)
from benchmarks.harness import BenchmarkError, Row
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.config import (
    BackboneConfig,
    MLSTMBlockConfig,
    PreUpMLSTMBlockConfig,
    SLSTMBlockConfig,
)

KIB = 2**10
CACHES = {"L1": 32 * KIB, "L2": 1024 * KIB, "L3": 32 * 1024 * KIB}
LIMITS = Limits(
    caches=CACHES,
    fma={1: 200.0, 2: 400.0},
    read={
        (threads, level): threads * rate
        for threads in (1, 2)
        for level, rate in (("L1", 400.0), ("L2", 160.0), ("L3", 100.0), ("DRAM", 20.0))
    },
)
TRUTH = np.array([1.0, -2.0, 0.5, 3.0])


class Clock:
    """Time that passes only where a candidate or a pause says so."""

    def __init__(self):
        self.now = 0.0
        self.order = []

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds

    def candidate(self, label, seconds):
        def run():
            self.order.append(label)
            self.now += seconds

        return run


def candidate(label, result=TRUTH, run=lambda: None):
    check = None if result is None else lambda: np.asarray(result)
    return Candidate(label=label, name=f"{label} 1.0", run=run, check=check)


def work(ours, peers, **fields):
    return Work(id="work-b1", ours=ours, peers=tuple(peers), reference=lambda: TRUTH, **fields)


def run(thing, limits=None):
    return measure(thing, Budget(seconds=0.0, least=3), limits, 2)


def test_every_turn_runs_every_candidate_and_the_order_turns_round():
    clock = Clock()
    slow = {name: clock.candidate(name, 1.0) for name in "abc"}
    timings = interleave(slow, Budget(seconds=0.0, least=4), clock, clock.wait)
    assert clock.order[3:] == list("abccbaabccba")
    assert all(timing.samples.tolist() == pytest.approx([1.0] * 4) for timing in timings.values())


def test_short_calls_are_repeated_and_warmed_up_and_pauses_do_not_count():
    clock = Clock()
    timings = interleave(
        {"a": clock.candidate("a", 1e-3)}, Budget(seconds=0.0, least=2), clock, clock.wait
    )
    assert timings["a"].median == pytest.approx(1e-3)
    # One to guess, and in each turn one untimed and five timed.
    assert len(clock.order) == 1 + 2 * 6
    assert clock.now == pytest.approx(13 * 1e-3 + 2 * PAUSE_SECONDS)


@pytest.mark.parametrize(("per_turn", "turns"), [(0.1, 100), (2.0, 7), (1e-6, 200), (1.0, 10)])
def test_the_budget_sets_the_turns(per_turn, turns):
    assert Budget(seconds=10.0).turns(per_turn) == turns


def test_a_ratio_is_of_medians_and_its_spread_of_turns():
    ours, peer = Timing(np.array([1.0, 2.0, 1.0])), Timing(np.array([10.0, 20.0, 12.0]))
    value, (low, high) = ours.times_faster(peer)
    assert value == pytest.approx(12.0)
    assert (low, high) == pytest.approx((10.0, 12.0))


def test_differences_are_in_spreads_of_the_reference():
    assert difference(2.0 * TRUTH + 0.2, 2.0 * TRUTH) == pytest.approx(0.1 / TRUTH.std())
    assert difference(torch.tensor(TRUTH), TRUTH) <= 1e-7
    assert math.isnan(difference(np.full(4, math.nan), TRUTH))


@pytest.mark.parametrize("result", [TRUTH[:3], TRUTH[None]])
def test_results_of_other_shapes_are_refused(result):
    with pytest.raises(BenchmarkError, match="expected a result"):
        difference(result, TRUTH)


def test_a_constant_reference_proves_nothing():
    with pytest.raises(BenchmarkError, match="with a spread"):
        difference(np.ones(4), np.ones(4))


@pytest.mark.parametrize("found", [1.1e-5, math.nan, math.inf])
def test_what_is_too_far_is_refused(found):
    with pytest.raises(BenchmarkError, match="official result within 1e-05"):
        require("ours", found, TOLERANCE["fp32"])


def test_ratios_have_goal_error_and_milliseconds():
    ours = {"fp32": candidate("fp32", TRUTH + 1e-6)}
    outcome = run(work(ours, [candidate("peer")], goals={("fp32", "peer"): 3.0}))
    (row,) = outcome.rows
    assert (row.id, row.unit, row.goal) == ("work-b1-fp32-peer", "ratio", 3.0)
    assert row.peer_name == "peer 1.0"
    assert row.value == pytest.approx(row.peer / row.ours)
    assert row.parity == pytest.approx(1e-6 / TRUTH.std())
    assert row.tolerance == TOLERANCE["fp32"]
    assert outcome.notes == []


def test_a_precision_that_fails_parity_has_no_row_and_a_note():
    ours = {"fp32": candidate("fp32", TRUTH + 1e-3), "bf16": candidate("bf16", TRUTH + 1e-3)}
    outcome = run(work(ours, [candidate("peer")]))
    assert [row.id for row in outcome.rows] == ["work-b1-bf16-peer"]
    assert len(outcome.notes) == 1
    assert "work-b1: ours, fp32: expected the official result within 1e-05" in outcome.notes[0]


def test_a_refused_precision_is_never_timed():
    def fail():
        raise AssertionError("timed without parity")

    outcome = run(work({"fp32": candidate("fp32", TRUTH + 1.0, fail)}, [candidate("peer")]))
    # The peer's own time is told all the same, as such.
    assert [(row.id, row.unit) for row in outcome.rows] == [("work-b1-peer", "ms")]


def test_a_peer_that_computes_something_else_is_left_out():
    peers = [candidate("peer", 2.0 * TRUTH), candidate("other")]
    outcome = run(work({"fp32": candidate("fp32")}, peers))
    assert [row.id for row in outcome.rows] == ["work-b1-fp32-other"]
    assert "peer 1.0 left out" in outcome.notes[0]


def test_a_peer_that_does_not_run_is_left_out_with_its_reason():
    def fail():
        raise RuntimeError("no compiler\nmore")

    peers = [Candidate(label="peer", name="peer 1.0", run=fail, check=fail), candidate("other")]
    outcome = run(work({"fp32": candidate("fp32")}, peers))
    assert [row.id for row in outcome.rows] == ["work-b1-fp32-other"]
    assert outcome.notes == ["work-b1: peer 1.0 left out: RuntimeError: no compiler"]


def test_another_function_for_scale_has_no_parity_and_never_the_goal():
    goals = {("fp32", BEST): 2.0}
    peers = [candidate("scale", None), candidate("peer", run=lambda: sum(range(20_000)))]
    rows = run(work({"fp32": candidate("fp32")}, peers, goals=goals)).rows
    scale, peer = rows
    assert (scale.parity, scale.tolerance, scale.goal) == (None, None, None)
    assert peer.goal == 2.0


def test_the_goal_of_the_best_is_the_fastest_peers():
    peers = [candidate("slow", run=lambda: sum(range(200_000))), candidate("quick")]
    rows = run(work({"fp32": candidate("fp32")}, peers, goals={("fp32", BEST): 2.0})).rows
    assert {row.id: row.goal for row in rows} == {
        "work-b1-fp32-slow": None,
        "work-b1-fp32-quick": 2.0,
    }


@pytest.mark.parametrize("gradients", [False, True])
def test_gradients_are_on_only_where_they_are_needed(gradients):
    seen = set()
    peer = candidate("peer", run=lambda: seen.add(torch.is_grad_enabled()))
    run(work({}, [peer], gradients=gradients))
    assert seen == {gradients}


def test_a_missing_precision_is_a_note():
    def make(precision):
        if precision == "int8":
            raise BenchmarkError("needs more")
        return candidate(precision)

    built, notes = ours_by_precision(("fp32", "int8"), make)
    assert list(built) == ["fp32"]
    assert notes == ("ours, int8: needs more",)


@pytest.mark.parametrize(
    ("size", "threads", "level"),
    [
        (32 * KIB, 1, "L1"),
        (33 * KIB, 1, "L2"),
        (1024 * KIB, 2, "L2"),
        (16 * 1024 * KIB, 2, "L3"),
        (17 * 1024 * KIB, 2, "DRAM"),
        (17 * 1024 * KIB, 1, "L3"),
    ],
)
def test_a_working_set_lives_in_the_first_level_that_holds_it(size, threads, level):
    assert LIMITS.level(size, threads) == level


def test_every_measured_working_set_lives_where_it_should():
    for threads in (1, 2):
        for level, size in working_sets(CACHES, threads).items():
            assert LIMITS.level(size, threads) == level


def test_the_longer_of_arithmetic_and_reading_bounds():
    # 1 MB a thread in fp32 on two threads: L2 at 320 GB/s.
    heavy = Cost(flops=4e9, weights=2.6e5, resident=2.6e5)
    assert LIMITS.bound(heavy, "fp32", 2) == (pytest.approx(0.01), "fp32 arithmetic")
    light = Cost(flops=4e3, weights=3.2e8, resident=2.6e5)
    assert LIMITS.bound(light, "fp32", 2) == (pytest.approx(0.004), "L2 reads")
    assert LIMITS.bound(light, "bf16", 2) == (pytest.approx(0.002), "L2 reads")


def test_no_bound_where_a_rate_is_unknown():
    assert LIMITS.bound(Cost(flops=4e9, weights=1.0), "bf16", 2) is None
    assert LIMITS.bound(Cost(flops=4e9), "fp32", 4) is None


def test_states_count_in_full_at_every_precision():
    cost = Cost(flops=0.0, state_bytes=8e6)
    assert LIMITS.bound(cost, "int8", 2) == (pytest.approx(8e6 / 200e9), "L3 reads")


def test_shares_of_the_limit_are_rows():
    cost = Cost(flops=0.0, weights=1e3, resident=1e3)
    rows = run(work({"fp32": candidate("fp32")}, [candidate("peer")], cost=cost), LIMITS).rows
    share = rows[-1]
    assert (share.id, share.unit, share.better) == ("work-b1-fp32-of-limit", "%", "higher")
    assert share.value == pytest.approx(100.0 * share.peer / share.ours)
    assert share.peer_name == "limit here: L1 reads"
    assert share.peer == pytest.approx(4e3 / 800e9 * 1e3)


def test_limits_are_rows_too():
    rows = {row.id: row for row in LIMITS.rows()}
    assert rows["machine-fma-fp32-2thr"].value == 400.0
    assert rows["machine-read-dram-1thr"].unit == "GB/s"
    assert len(rows) == 2 + 8


def test_caches_are_read_where_the_system_tells(tmp_path):
    for index, entry in enumerate((("1", "Data", "48K"), ("1", "Instruction", "32K"))):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in zip(("level", "type", "size"), entry, strict=True):
            (folder / name).write_text(value + "\n")
    found = cache_bytes(tmp_path)
    assert found["L1"] == 48 * KIB
    assert found["L2"] > found["L1"]


def test_the_table_has_errors_and_shares_beside_the_figures():
    cost = Cost(flops=0.0, weights=1e3, resident=1e3)
    spread = TRUTH.std()
    ours = {
        "fp32": candidate("fp32", TRUTH + 2e-6 * spread),
        "bf16": candidate("bf16", TRUTH + 3e-3 * spread),
    }
    rows = run(work(ours, [candidate("peer")], cost=cost), LIMITS).rows
    out = StringIO()
    Console(width=200, file=out).print(cpu_table(rows))
    lines = [line for line in out.getvalue().splitlines() if line.startswith("│")]
    assert len(lines) == 2
    assert "2e-06" in lines[0]
    assert "3e-03" in lines[1]
    assert all(" % │" in line for line in lines)
    assert all("L1 reads" in line for line in limits_lines(rows))


def ratio(id, value, goal=None):
    return Row(
        id=id, value=value, unit="ratio", better="higher", goal=goal, parity=0.0, tolerance=1.0
    )


def test_the_chart_shows_goals_and_the_hardest_peer(tmp_path):
    rows = [
        ratio("work-fp32-eager", 5.0, 4.0),
        ratio("work-fp32-compiled", 2.0),
        ratio("work-fp32-other", 3.0),
        ratio("work-bf16-eager", 6.0, 9.0),
        Row(id="work-fp32-of-limit", value=50.0, unit="%", better="higher"),
    ]
    assert [row.id for row in charted(rows)] == [
        "work-fp32-eager",
        "work-fp32-compiled",
        "work-bf16-eager",
    ]
    path = draw_chart(rows, "a machine", tmp_path / "made" / "cpu.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert draw_chart(rows[-1:], "a machine", tmp_path / "none.png") is None


def test_start_up_compares_medians():
    ours = [Start(0.2, 50.0, False), Start(0.4, 52.0, False), Start(0.3, 51.0, False)]
    peers = [Start(3.0, 400.0, True)] * 3
    time, memory = start_rows(ours, peers, "peer")
    assert (time.value, time.peer, time.unit, time.reached) == (0.3, 3.0, "s", True)
    assert memory.value == pytest.approx(51.0 * 2**20 / 1e6)
    assert memory.better == "lower"


def test_groups_are_read_by_name():
    assert groups("lm,start") == ("lm", "start")
    for text in ("lm,nothing", "", ","):
        with pytest.raises(Exception, match="expected some of"):
            groups(text)


def test_unknown_groups_are_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--only", "nothing"])
    assert ended.value.code == 2
    assert ", ".join(GROUPS) in capsys.readouterr().err


def test_without_peers_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.cpu.peers.find_spec", lambda name: None)
    assert main(["--only", "policy"]) == 4
    error = capsys.readouterr().err
    assert "xlstm, mlstm_kernels, tirex-ts, transformers" in error
    assert "xlstmd[torch,bench]" in error


def test_a_run_writes_table_file_and_picture(monkeypatch, capsys, tmp_path):
    class Policy:
        @staticmethod
        def works(plan):
            assert plan == Plan(threads=1, quick=True)
            yield work(
                {"fp32": candidate("fp32")}, [candidate("xlstm")], goals={("fp32", "xlstm"): 1e-9}
            )

    def no_limits(threads, seconds):
        raise BenchmarkError("no limits here")

    monkeypatch.setattr("benchmarks.cpu.__main__.require_peers", lambda: None)
    monkeypatch.setattr("benchmarks.cpu.__main__.measure_limits", no_limits)
    monkeypatch.setattr("benchmarks.cpu.__main__.import_module", lambda name: Policy)
    file, picture = tmp_path / "cpu.json", tmp_path / "cpu.png"
    arguments = ["--only", "policy", "--quick", "--threads", "1"]
    assert main([*arguments, "--output", str(file), "--picture", str(picture)]) == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert row["id"] == "work-b1-fp32-xlstm"
    assert picture.is_file()
    out = capsys.readouterr().out
    assert "work-b1-fp32-xlstm" in out
    assert "no limits here" in out


def gives(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def fits(config, weights):
    Backbone(config).load_state_dict({name: torch.tensor(w) for name, w in weights.items()})


def test_weights_of_large_models_fit():
    state = gives(
        {
            "backbone.out_norm.weight": (64,),
            **{f"backbone.blocks.0.norm_{name}.weight": (64,) for name in ("mlstm", "ffn")},
            **{f"backbone.blocks.0.mlstm_layer.{name}.weight": (32, 64) for name in "qk"},
            **{
                f"backbone.blocks.0.mlstm_layer.{name}.weight": (64, 64)
                for name in ("v", "ogate_preact", "out_proj")
            },
            **{
                f"backbone.blocks.0.mlstm_layer.{name}_preact.{kind}": shape
                for name in ("igate", "fgate")
                for kind, shape in (("weight", (2, 64)), ("bias", (2,)))
            },
            "backbone.blocks.0.mlstm_layer.multihead_norm.weight": (64,),
            **{
                f"backbone.blocks.0.ffn.{name}.weight": (192, 64)
                for name in ("proj_up_gate", "proj_up")
            },
            "backbone.blocks.0.ffn.proj_down.weight": (64, 192),
        }
    )
    config = BackboneConfig(width=64, blocks=(MLSTMBlockConfig(width=64, num_heads=2),))
    fits(config, large_backbone(state, 1, 2))


def test_weights_of_paper_blocks_fit():
    layer = "blocks.0.xlstm."
    state = gives(
        {
            "post_blocks_norm.weight": (32,),
            "blocks.0.xlstm_norm.weight": (32,),
            layer + "learnable_skip": (64,),
            layer + "proj_up.weight": (128, 32),
            layer + "proj_down.weight": (32, 64),
            **{f"{layer}{name}_proj.weight": (16, 4, 4) for name in "qkv"},
            layer + "conv1d.conv.weight": (64, 1, 4),
            layer + "conv1d.conv.bias": (64,),
            **{
                f"{layer}mlstm_cell.{name}.{kind}": shape
                for name in ("igate", "fgate")
                for kind, shape in (("weight", (2, 192)), ("bias", (2,)))
            },
            layer + "mlstm_cell.outnorm.weight": (64,),
        }
    )
    block = PreUpMLSTMBlockConfig(width=32, num_heads=2)
    weights = paper_backbone(state, 1, 2)
    fits(BackboneConfig(width=32, blocks=(block,), norm="layer"), weights)
    # Their norms store the gain less one.
    np.testing.assert_allclose(weights["norm.weight"], 1.0 + state["post_blocks_norm.weight"])


def test_weights_of_tirex_fit_and_its_gates_are_exchanged():
    layer = "blocks.0.slstm_layer."
    state = gives(
        {
            "out_norm.weight": (32,),
            "blocks.0.norm_slstm.weight": (32,),
            "blocks.0.norm_ffn.weight": (32,),
            "blocks.0.ffn.proj_up_gate.weight": (128, 32),
            "blocks.0.ffn.proj_up.weight": (128, 32),
            "blocks.0.ffn.proj_down.weight": (32, 128),
            layer + "slstm_cell._recurrent_kernel_": (2, 16, 64),
            layer + "slstm_cell._bias_": (128,),
            layer + "group_norm.weight": (32,),
            **{
                f"{layer}{name}.weight": (2, 16, 16)
                for name in ("fgate", "igate", "zgate", "ogate")
            },
        }
    )
    block = SLSTMBlockConfig(width=32, num_heads=2, conv_window=0)
    config = BackboneConfig(width=32, blocks=(block,))
    weights = tirex_backbone(state, 1, 2)
    assert weights["blocks.0.layer.recurrent"].shape == (2, 16, 4, 16)
    theirs = state[layer + "fgate.weight"].transpose(1, 2)
    np.testing.assert_array_equal(weights["blocks.0.layer.input_gate.weight"], theirs)
    assert set(weights) == set(Backbone(config).state_dict())


def test_recurrent_weights_go_to_both_official_layouts():
    recurrent = torch.arange(2 * 3 * 4 * 3.0).reshape(2, 3, 4, 3)
    xlstm, tirex = recurrent_to_xlstm(recurrent), recurrent_to_tirex(recurrent)
    for head, source, gate, target in ((0, 1, 2, 0), (1, 2, 3, 1)):
        value = recurrent[head, source, gate, target]
        assert xlstm[head, gate * 3 + target, source] == value
        assert tirex[head, source, gate * 3 + target] == value
