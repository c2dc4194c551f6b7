"""The anomaly benchmark: its scores are the published ones, and detectors see no future."""

import importlib
import json
from importlib.util import find_spec

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

import xlstmd
from benchmarks.anomaly import detectors, published
from benchmarks.anomaly.corpora import Corpus, Recording, find_data, load_nab, load_skab
from benchmarks.anomaly.figures import DRAWS, RATES, nab_figures, skab_figures
from benchmarks.anomaly.nab import LOW_MISSES, STANDARD, best_score, score_at
from benchmarks.anomaly.outliers import PrecisionRecall, count
from benchmarks.harness import BenchmarkError
from tests.small_models import random_forecaster
from xlstmd.models.calibration import DEFAULT_RATE, Calibration

benchmark = importlib.import_module("benchmarks.anomaly.__main__")

NAN = float("nan")


@pytest.fixture(scope="module")
def data():
    try:
        return find_data()
    except BenchmarkError as error:
        pytest.skip(str(error))


def windows(length, *places):
    labels = np.zeros(length, dtype=bool)
    for start, stop in places:
        labels[start:stop] = True
    return labels


def detections(length, *places):
    scores = np.zeros(length)
    scores[list(places)] = 1.0
    return scores


def nab(labels, *places, profile=STANDARD):
    return score_at([detections(len(labels), *places)], [labels], 1.0, profile).value


def test_published_windowed_gaussian_is_reproduced(data):
    rows = published.reproduce(load_nab(data))
    assert [round(row.value, 1) for row in rows] == pytest.approx([39.6, 20.9, 47.4], abs=0.051)


def test_corpora_have_the_sizes_that_were_published(data):
    corpus, skab = load_nab(data), load_skab(data)
    starts = sum(
        int((np.diff(recording.labels.astype(int), prepend=0) == 1).sum())
        for recording in corpus.recordings
    )
    assert (len(corpus.recordings), starts) == (58, 116)
    assert {len(run.series) for run in skab.recordings} == {8}
    assert (len(skab.recordings), sum(run.labels.sum() for run in skab.recordings)) == (34, 13067)


def test_nab_is_0_without_detection_and_100_at_the_first_points_of_windows():
    labels = windows(1000, (300, 400), (700, 800))
    assert nab(labels) == 0.0
    assert nab(labels, 300, 700) == pytest.approx(100.0)
    # A later detection in a window neither gains nor costs.
    assert nab(labels, 300, 350, 399, 700) == pytest.approx(100.0)
    # In a window's last point there is little to gain, but it is not missed.
    assert nab(labels, 399, 799) == pytest.approx(50.0, abs=2.0)


def test_nab_takes_0_11_for_a_false_alarm_and_less_just_behind_a_window():
    labels = windows(1000, (300, 400), (700, 800))
    full = 100.0 * 0.11 / 4.0
    assert nab(labels, 200) == pytest.approx(-full)
    # More than three widths behind.
    assert nab(windows(1000, (300, 400), (980, 1000)), 700) == pytest.approx(-full)
    assert nab(labels, 399 + 1) == pytest.approx(-full * 0.025, rel=0.02)
    assert nab(labels, 449) == pytest.approx(-full * (1.0 - 2.0 / (1.0 + np.exp(50 / 99 * 5))))
    # Misses weigh twice: the same cost is a smaller part of what can be reached.
    assert nab(labels, 200, profile=LOW_MISSES) == pytest.approx(-full * 4.0 / 6.0)


def test_nab_does_not_judge_the_beginning_nor_points_without_score():
    labels = windows(1000, (300, 400))
    assert nab(labels, 0, 149) == 0.0
    assert nab(labels, 150) < 0.0
    scores = np.where(detections(1000, 200, 300) > 0, NAN, 0.0)
    assert score_at([scores], [labels], 0.5, STANDARD).value == 0.0
    long = windows(20_000, (9000, 9500))
    assert nab(long, 749) == 0.0
    assert nab(long, 750) < 0.0


def test_the_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    labels = [windows(400, (150, 200), (300, 320)), windows(500), windows(300, (200, 260))]
    scores = [np.round(rng.exponential(size=len(label)), 1) for label in labels]
    scores[0][160], scores[2][205] = 9.0, NAN
    best = best_score(scores, labels, STANDARD)
    every = [score_at(scores, labels, value, STANDARD).value for value in np.arange(0.0, 10.0, 0.1)]
    assert best.value == pytest.approx(max(*every, 0.0))
    assert best.draws(np.ones((1, 3)))[0] == pytest.approx(best.value)
    nothing = best_score([detections(400, 200)], [windows(400, (300, 350))], STANDARD)
    assert (nothing.value, nothing.threshold) == (0.0, np.inf)


def test_outlier_scores_are_those_of_counting():
    flags = [np.array([True, True, False, False]), np.array([False, True])]
    labels = [np.array([True, False, True, False]), np.array([False, True])]
    counts = count(flags, labels)
    both, first = np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]])
    assert counts.f1(both) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert counts.far(both) == pytest.approx(100.0 / 3.0)
    assert counts.mar(both) == pytest.approx(100.0 / 3.0)
    assert counts.mar(first) == pytest.approx(50.0)


def test_area_is_average_precision_and_runs_can_be_left_out():
    scores = [np.array([4.0, 2.0, NAN]), np.array([3.0, 3.0, 1.0])]
    labels = [np.array([True, True, False]), np.array([True, False, False])]
    curve = PrecisionRecall(scores, labels)
    # One of one, then a tie of one in two, then the third of four.
    assert curve.area(np.array([[1.0, 1.0]])) == pytest.approx((1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 3.0)
    assert curve.area(np.array([[1.0, 0.0], [0.0, 2.0]])) == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("make", ["rolling_z_score", "seasonal_naive", "auto_ets"])
def test_no_detector_looks_ahead(make):
    if make == "auto_ets" and find_spec("statsforecast") is None:
        pytest.skip("needs statsforecast: pip install 'xlstmd[bench-anomaly]'")
    detector = getattr(detectors, make)()
    values = np.cumsum(np.random.default_rng(0).normal(size=1500))
    changed = values.copy()
    changed[1200:] += 500.0
    before, after = detector.surprises(values, 24), detector.surprises(changed, 24)
    np.testing.assert_allclose(after[:1200], before[:1200], rtol=1e-6)
    assert after[1200] > before[1200] + 10.0
    known = before[~np.isnan(before)]
    assert len(known) > 1300
    assert (known >= np.log(2.0) - 1e-12).all()
    # Gaussian steps: half of the tails are below a half.
    if make != "rolling_z_score":
        assert np.exp(-known).mean() == pytest.approx(0.25, abs=0.05)


def test_constant_series_and_their_ends_have_finite_surprises():
    values = np.concatenate([np.full(400, 2.0), np.full(400, 3.0)])
    for detector in (detectors.rolling_z_score(), detectors.seasonal_naive()):
        surprises = detector.surprises(values, 10)
        known = ~np.isnan(surprises)
        assert np.isfinite(surprises[known]).all()
        assert int(np.nanargmax(surprises)) == 400
        np.testing.assert_allclose(surprises[known][:300], np.log(2.0))


def test_our_flags_are_those_of_the_stream():
    model = random_forecaster()
    values = np.random.default_rng(1).normal(size=900)
    surprises = detectors.forecaster(model).surprises(values, 1)
    flags = Calibration().flags(surprises, DEFAULT_RATE)
    np.testing.assert_array_equal(flags, model.stream().score(values).flag)


def test_figures_hold_every_measure_and_their_draws():
    rng = np.random.default_rng(0)
    labels = windows(600, (400, 460))
    runs = tuple(Recording(str(i), (rng.normal(size=600),) * 2, labels) for i in range(3))
    surprises = [[rng.exponential(size=600) + 3.0 * labels] for _ in runs]
    found = nab_figures(Corpus("nab", 1, runs), surprises)
    assert set(found) == {measure.id for measure in benchmark.NAB_MEASURES}
    assert found["nab-standard"].value > 50.0
    found = skab_figures(Corpus("skab", 1, runs), [2 * run for run in surprises])
    assert set(found) == {measure.id for measure in benchmark.SKAB_MEASURES}
    assert {len(figure.draws) for figure in found.values()} == {DRAWS}
    assert RATES[0] == DEFAULT_RATE


@pytest.fixture
def small_data(tmp_path, monkeypatch):
    """Two corpora of a series each in the place and form of the real ones."""
    rng = np.random.default_rng(0)
    labels = windows(500, (300, 350)).astype(float)
    values = rng.normal(size=500) + 8.0 * (labels > 0) * (rng.random(500) < 0.2)
    for corpus, name, columns in (
        ("nab", "a/b.csv", ("id", "label")),
        ("skab", "other/1", ("run", "anomaly")),
    ):
        folder = tmp_path / "series" / "anomaly" / corpus
        folder.mkdir(parents=True)
        sensors = [name] if corpus == "nab" else [f"{name}|one", f"{name}|two"]
        parquet.write_table(
            arrow.table({"id": sensors, "values": [values] * len(sensors)}),
            folder / "series.parquet",
        )
        parquet.write_table(
            arrow.table({columns[0]: [name], columns[1]: [labels]}), folder / "labels.parquet"
        )
    monkeypatch.setenv("XLSTMD_DATA", str(tmp_path))
    return tmp_path


def test_command_prints_tables_and_writes_rows(small_data, monkeypatch, capsys):
    monkeypatch.setattr(xlstmd, "load_forecaster", random_forecaster, raising=False)
    monkeypatch.setattr(benchmark.published, "reproduce", lambda corpus: [])

    def refuse():
        raise BenchmarkError("statsforecast is not here")

    monkeypatch.setattr(benchmark, "auto_ets", refuse)
    path = small_data / "out.json"
    assert benchmark.main(["--output", str(path)]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "rolling-z-score",
        "Numenta HTM",
        "Conv-AE",
        "Left out: statsforecast",
        "out.json",
    ):
        assert expected in shown
    rows = {row["id"]: row for row in json.loads(path.read_text())["rows"]}
    ahead = rows["nab-standard-vs-rolling-z-score"]
    assert ahead["value"] == pytest.approx(ahead["ours"] - ahead["peer"])
    assert rows["skab-far-0.01-vs-published-conv-ae"]["peer"] == 13.69
    assert rows["nab-flagged-0.01"]["peer"] == 1.0
    assert "seconds-xlstmd" in rows


def test_nothing_is_shown_when_the_published_score_is_missed(small_data, capsys):
    assert benchmark.main(["--output", str(small_data / "out.json")]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "nab-windowed-gaussian-standard: expected the peer's result" in shown.err
    assert not (small_data / "out.json").exists()


def test_missing_files_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XLSTMD_DATA", str(tmp_path))
    assert benchmark.main([]) == 4
    message = capsys.readouterr().err
    assert "XLSTMD_DATA" in message
    assert "series/anomaly/skab/labels.parquet" in message
