"""The accuracy benchmark: its yardstick is the published one, and it shows nothing without it."""

import csv
import json
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

import xlstmd
from benchmarks import accuracy
from benchmarks.chronos_zs import TASKS, PublishedScores, find_data, find_tasks, load_window
from benchmarks.evaluator import Evaluator
from benchmarks.harness import BenchmarkError
from xlstmd.train.metrics import repeat_as_quantiles, seasonal_naive

# WQL and MASE on the fourteen tasks, as other people's aggregates of the same files give them.
PUBLISHED = {
    "tirex": (0.622, 0.828),
    "chronos_bolt_base": (0.660, 0.853),
    "auto_ets": (0.661, 0.833),
    "auto_arima": (0.670, 0.843),
    "auto_theta": (0.707, 0.862),
    "chronos_bolt_tiny": (0.711, 0.930),
}


@dataclass(frozen=True)
class Bands:
    """A forecast with a median and quantiles."""

    median: np.ndarray
    quantiles: np.ndarray


class LastValue:
    """Forecasts the newest observed value with bands as wide as past steps were."""

    identity = "last-value@1"

    def __init__(self):
        self.calls = []

    def describe(self):
        return {"parameters": 1}

    def forecast(self, histories, horizon, quantile_levels):
        self.calls.append([len(history) for history in histories])
        point = seasonal_naive(histories, horizon, season=1)
        steps = [np.diff(history[~np.isnan(history)]) for history in histories]
        width = np.array([step.std() if len(step) else 0.0 for step in steps])
        offset = np.array(quantile_levels) - 0.5
        width = width[:, None, None] * np.sqrt(np.arange(1, horizon + 1))[:, None]
        return Bands(point, repeat_as_quantiles(point, len(offset)) + 2.0 * width * offset)


class Repeat:
    """Forecasts its season's last value, every quantile alike."""

    def __init__(self, season):
        self.season = season

    def forecast(self, histories, horizon, quantile_levels):
        point = seasonal_naive(histories, horizon, self.season)
        return Bands(point, repeat_as_quantiles(point, len(quantile_levels)))


@pytest.fixture(scope="module")
def published_data():
    try:
        return find_data()
    except BenchmarkError as error:
        pytest.skip(str(error))


@pytest.fixture
def small_data(tmp_path, monkeypatch):
    """Two small tasks in the place and form of the real ones, with their true naive scores."""
    rng = np.random.default_rng(0)
    for task in find_tasks(["hospital", "m1_yearly"]):
        series = [np.cumsum(rng.normal(0.5, 1.0, size=task.horizon + n)) for n in (24, 40, 31)]
        series[0][3] = np.nan
        folder = tmp_path / "series" / "eval" / task.folder
        folder.mkdir(parents=True)
        parquet.write_table(arrow.table({"values": series}), folder / "series.parquet")
    (tmp_path / "published").mkdir()
    write_published(tmp_path, {})
    monkeypatch.setenv("XLSTMD_DATA", str(tmp_path))
    evaluator = Evaluator(find_tasks(["hospital", "m1_yearly"]))
    names = [task.published for task in evaluator.tasks]
    write_published(tmp_path, dict(zip(names, evaluator.naive, strict=True)))
    return tmp_path


def write_published(root, naive):
    with (root / "published" / "chronos_zs.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["model", "dataset", "metric", "value"])
        for dataset, scores in naive.items():
            for model, factor in [("seasonal_naive", 1.0)] + [
                (peer, 0.9) for peer in accuracy.PEERS_BY_TASK
            ]:
                lines.writerow([model, dataset, "MASE", factor * scores.mase])
                lines.writerow([model, dataset, "WQL", factor * scores.wql])
                lines.writerow([model, dataset, "trained_on_this_dataset", float(model == "tirex")])


SMALL = ["--tasks", "hospital,m1_yearly"]


@pytest.fixture
def last_value(monkeypatch):
    model = LastValue()
    monkeypatch.setattr(xlstmd, "load_forecaster", lambda _name, **_: model, raising=False)
    return model


@pytest.mark.usefixtures("published_data")
def test_published_seasonal_naive_scores_are_reproduced():
    rows = Evaluator().reproduce_published()
    assert len(rows) == 2 * len(TASKS)
    for row in rows:
        if "nn5_weekly" in row.id:
            assert row.parity < 0.015
        else:
            assert f"{row.value:.5f}" == f"{row.peer:.5f}"


@pytest.mark.usefixtures("published_data")
def test_published_models_join_to_their_known_figures():
    evaluator = Evaluator()
    for model, (wql, mase) in PUBLISHED.items():
        joined_mase, joined_wql = evaluator.published.joined(model, TASKS)
        assert (round(joined_wql, 3), round(joined_mase, 3)) == (wql, mase)


def test_windows_end_with_the_horizon(published_data):
    for task in TASKS:
        window = load_window(published_data, task)
        assert window.truth.shape == (len(window.histories), task.horizon)
        assert min(len(history) for history in window.histories) >= 1


def test_the_best_zero_shot_score_is_not_of_a_model_that_had_seen_the_task():
    yearly, hospital = find_tasks(["m1_yearly", "hospital"])[::-1]
    table = {
        "seasonal_naive": {yearly.published: 2.0, hospital.published: 2.0},
        "pure": {yearly.published: 1.0, hospital.published: 1.6},
        "trained": {yearly.published: 0.5, hospital.published: 1.0},
    }
    trained_on = {"pure": frozenset(), "trained": frozenset({yearly.published})}
    published = PublishedScores(table, table, trained_on)
    mase, wql = published.best_zero_shot([yearly, hospital])
    np.testing.assert_allclose([mase, wql], [[0.5, 0.5]] * 2)
    assert published.count_trained_on("trained", [yearly, hospital]) == 1


@pytest.mark.usefixtures("small_data")
def test_seasonal_naive_forecaster_scores_one():
    evaluator = Evaluator(find_tasks(["m1_yearly"]))
    rows = {row.id: row for row in evaluator.score(Repeat(season=1).forecast)}
    assert rows["m1_yearly-mase"].value == pytest.approx(1.0)
    assert rows["joined-1-wql"].value == pytest.approx(1.0)
    assert rows["joined-1-wql"].spread == (pytest.approx(1.0), pytest.approx(1.0))
    assert rows["joined-1-mase-vs-tirex"].value == pytest.approx(0.9)


@pytest.mark.usefixtures("small_data")
def test_rows_hold_every_part_of_the_benchmark():
    evaluator = Evaluator(find_tasks(["hospital", "m1_yearly"]))
    ids = [row.id for row in evaluator.score(LastValue().forecast)]
    assert len(ids) == len(set(ids))
    for expected in (
        "seasonal-naive-hospital-mase",
        "joined-2-wql",
        "joined-2-mase-vs-auto_ets",
        "m1_yearly-wql",
        "coverage-0.1",
        "forecast-seconds",
    ):
        assert expected in ids


@pytest.mark.usefixtures("small_data")
def test_goals_belong_to_the_whole_set(published_data, monkeypatch):
    part = Evaluator(find_tasks(["hospital", "m1_yearly"])).score(LastValue().forecast)
    assert [row.id for row in part if row.goal is not None] == []
    monkeypatch.setenv("XLSTMD_DATA", str(published_data))
    whole = {row.id: row for row in Evaluator().score(LastValue().forecast)}
    assert whole["joined-14-wql"].goal == 0.66
    assert whole["joined-14-mase"].goal == 0.82
    assert whole["joined-13-mase"].goal is None


@pytest.mark.usefixtures("small_data")
def test_context_shortens_what_the_model_sees_and_not_the_scale():
    tasks = find_tasks(["m1_yearly"])
    model = LastValue()
    short, whole = Evaluator(tasks, context=7), Evaluator(tasks)
    short.evaluate(model.forecast)
    assert model.calls == [[7, 7, 7]]
    np.testing.assert_array_equal(short.scales[0], whole.scales[0])


@pytest.mark.usefixtures("small_data")
def test_calls_are_bounded_and_rows_come_back_in_place():
    tasks = find_tasks(["m1_yearly"])
    model = LastValue()
    few = Evaluator(tasks).evaluate(model.forecast, rows_per_call=2)
    all_at_once = Evaluator(tasks).evaluate(model.forecast)
    assert model.calls[:2] == [[24, 31], [40]]
    np.testing.assert_array_equal(
        few[0].ours.scaled_error_sum, all_at_once[0].ours.scaled_error_sum
    )


@pytest.mark.usefixtures("small_data")
def test_forecasts_that_are_not_finite_are_refused():
    def broken(histories, horizon, quantile_levels):
        bands = LastValue().forecast(histories, horizon, quantile_levels)
        return replace(bands, quantiles=np.full_like(bands.quantiles, np.nan))

    with pytest.raises(BenchmarkError, match="m1_yearly: expected finite forecasts"):
        Evaluator(find_tasks(["m1_yearly"])).evaluate(broken)


@pytest.mark.usefixtures("small_data")
def test_forecasts_of_another_shape_are_refused():
    def broken(histories, horizon, quantile_levels):
        return LastValue().forecast(histories, horizon - 1, quantile_levels)

    with pytest.raises(BenchmarkError, match=r"expected forecasts of shape \(3, 6\)"):
        Evaluator(find_tasks(["m1_yearly"])).evaluate(broken)


@pytest.mark.usefixtures("small_data", "last_value")
def test_command_prints_tables_and_writes_where_told(tmp_path, capsys):
    path = tmp_path / "out.json"
    assert accuracy.main([*SMALL, "--output", str(path)]) == 0
    shown = capsys.readouterr().out
    for expected in ("last-value@1", "tirex", "hospital", "Coverage", "Wrote out.json"):
        assert expected in shown
    ids = [row["id"] for row in json.loads(path.read_text())["rows"]]
    assert "last-value@1-parameters" in ids


@pytest.mark.usefixtures("small_data", "last_value")
def test_part_of_the_tasks_does_not_replace_the_result_file(monkeypatch, tmp_path):
    monkeypatch.setattr(accuracy, "RESULTS", tmp_path / "results")
    assert accuracy.main(SMALL) == 0
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("small_data")
def test_baselines_need_no_model(monkeypatch, capsys):
    monkeypatch.setattr(xlstmd, "load_forecaster", None)
    assert accuracy.main([*SMALL, "--baselines-only"]) == 0
    assert "auto_theta" in capsys.readouterr().out


def test_nothing_is_shown_when_the_published_scores_are_missed(small_data, last_value, capsys):
    series = small_data / "series" / "eval" / "m1_yearly" / "series.parquet"
    changed = [np.arange(30.0) ** 1.5, np.arange(20.0)]
    parquet.write_table(arrow.table({"values": changed}), series)
    assert accuracy.main(SMALL) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "seasonal-naive-m1_yearly-mase: expected the peer's result within 5e-06" in shown.err
    assert last_value.calls == []


def test_missing_files_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XLSTMD_DATA", str(tmp_path))
    assert accuracy.main(SMALL) == 4
    message = capsys.readouterr().err
    assert "XLSTMD_DATA" in message
    assert "series/eval/hospital/series.parquet" in message
    assert "published/chronos_zs.csv" in message
    assert "exchange_rate" not in message


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "hospital,nn6"], "--tasks: expected some of exchange_rate, nn5"),
        (["--context", "0"], "--context: expected at least 1 point, got 0"),
    ],
)
def test_wrong_options_are_explained(options, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        accuracy.main(options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
