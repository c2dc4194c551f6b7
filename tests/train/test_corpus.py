"""Laws of the real series and of what is held back."""

from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from xlstmd.errors import InputError
from xlstmd.train.corpus import (
    HELD_WEEKS,
    SOURCES,
    Series,
    aggregated,
    data_root,
    load_corpus,
    run_marks,
    split,
    tasks_of,
    training_part,
    validation_tasks,
)
from xlstmd.train.windows import WindowSource, training_views

POISON = 1e200


def made_corpus() -> list[Series]:
    """Makes one set of each kind: wide, long, weekly illness, short; every value is unique."""
    rng = np.random.default_rng(1)
    sets = [
        *[("aus_retail", "ME", 12, 441)] * 120,
        *[("pjm_load", "h", 24, 9000)] * 2,
        ("yosemite_temps", "5min", 288, 6000),
        *[("illness_ili", "W", 52, 966)] * 2,
        ("ercot_small", "h", 24, 1000),
    ]
    return [
        Series(
            dataset=name,
            id=f"{index}",
            freq=freq,
            season=season,
            values=1000.0 * index + rng.random(length),
        )
        for index, (name, freq, season, length) in enumerate(sets)
    ]


def poisoned(corpus: list[Series]) -> list[Series]:
    """Replaces every held-back point by a huge value that no average can hide."""
    for part in split(corpus):
        part.series.values[part.cut :] = POISON
    return corpus


@pytest.fixture(scope="module")
def real_corpus() -> list[Series]:
    try:
        return load_corpus()
    except InputError as error:
        pytest.skip(f"needs the data folder: {error}")


def assert_unpoisoned(corpus: list[Series], lengths: tuple[int, ...], draws: int) -> None:
    views = training_views(poisoned(corpus))
    for view in views:
        assert np.nan_to_num(np.abs(view.values)).max(initial=0.0) < 1e100
    rng = np.random.default_rng(2)
    for length in lengths:
        source = WindowSource(views, length)
        windows = np.stack([source.raw(rng) for _ in range(draws)])
        assert np.nan_to_num(np.abs(windows)).max() < 1e100


def test_no_training_window_holds_a_held_back_point() -> None:
    assert_unpoisoned(made_corpus(), (64, 160, 320, 576, 1088), 300)


def test_no_training_window_of_the_real_series_holds_a_held_back_point(
    real_corpus: list[Series],
) -> None:
    copies = [
        Series(dataset=s.dataset, id=s.id, freq=s.freq, season=s.season, values=s.values.copy())
        for s in real_corpus
    ]
    assert_unpoisoned(copies, (64, 160, 320, 576, 1088, 2304), 300)


def test_no_run_of_held_back_values_occurs_in_real_training_series(
    real_corpus: list[Series],
) -> None:
    trained = training_part(real_corpus)
    for name in SOURCES:
        members = [part for part in split(real_corpus) if part.series.dataset == name]
        held = [run_marks(part.series.values[part.cut :]) for part in members]
        kept = [run_marks(s.values) for s in trained if s.dataset == name]
        shared = np.intersect1d(np.concatenate(held), np.concatenate(kept))
        for part in members:
            values = part.series.values[part.cut :]
            for start in np.flatnonzero(np.isin(run_marks(values), shared)):
                # Only runs of a few repeated levels, such as a closed valve, may occur twice.
                assert np.unique(values[start : start + 24]).size <= 6


def test_changing_held_back_points_changes_no_training_view() -> None:
    clean, dirty = training_views(made_corpus()), training_views(poisoned(made_corpus()))
    assert len(clean) == len(dirty)
    for one, other in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


def test_training_values_do_not_share_memory_with_the_corpus() -> None:
    corpus = made_corpus()
    for series in training_part(corpus):
        assert not any(np.shares_memory(series.values, whole.values) for whole in corpus)


def test_every_tenth_series_of_a_wide_set_is_held_back_whole() -> None:
    retail = [part for part in split(made_corpus()) if part.series.dataset == "aus_retail"]
    assert [index for index, part in enumerate(retail) if part.cut == 0] == list(range(9, 120, 10))
    assert all(part.cut in (0, 441) for part in retail)


def test_the_last_fifth_of_long_series_and_the_last_year_of_illness_are_held_back() -> None:
    cuts = {part.series.dataset: part.cut for part in split(made_corpus())}
    assert cuts["pjm_load"] == 7200
    assert cuts["yosemite_temps"] == 4800
    assert cuts["illness_ili"] == 966 - HELD_WEEKS["illness_ili"]
    assert cuts["ercot_small"] == 1000


def test_a_series_that_repeats_a_held_back_one_is_not_trained_on() -> None:
    corpus = made_corpus()
    corpus[3].values[100:140] = corpus[9].values[200:240]
    kept = {series.id for series in training_part(corpus)}
    assert "3" not in kept
    assert "4" in kept


def test_validation_futures_lie_in_the_held_back_part() -> None:
    corpus = made_corpus()
    held = np.concatenate([part.series.values[part.cut :] for part in split(corpus)])
    for task in tasks_of(corpus):
        assert task.futures.shape == (len(task.contexts), task.horizon)
        if "/" not in task.name:
            assert np.isin(task.futures, held).all()


def test_validation_futures_of_aggregated_views_use_held_back_points_only() -> None:
    for task in tasks_of(poisoned(made_corpus())):
        assert (task.futures >= POISON / 2).all()


def test_a_history_ends_where_its_future_begins() -> None:
    corpus = made_corpus()
    by_start = {float(series.values[0]): series.values for series in corpus}
    for task in tasks_of(corpus):
        if "/" in task.name:
            continue
        for context, future in zip(task.contexts, task.futures, strict=True):
            whole = by_start[float(context[0])]
            np.testing.assert_array_equal(whole[: context.size], context)
            np.testing.assert_array_equal(whole[context.size :][: task.horizon], future)


def test_real_validation_tasks_cover_every_set_that_holds_something_back(
    real_corpus: list[Series],
) -> None:
    names = {task.name.partition("/")[0] for task in validation_tasks()}
    held = {p.series.dataset for p in split(real_corpus) if p.cut < p.series.values.size}
    assert names == held


def test_aggregation_averages_blocks_and_drops_the_incomplete_one() -> None:
    values = np.array([1.0, 3.0, np.nan, 5.0, np.nan, np.nan, 9.0])
    np.testing.assert_array_equal(aggregated(values, 2), [2.0, 5.0, np.nan])


def test_short_series_have_missing_points_before_them() -> None:
    views = training_views(made_corpus())
    window = WindowSource([view for view in views if view.values.size == 441], 576)
    raw = window.raw(np.random.default_rng(3))
    assert np.isnan(raw[:135]).all()
    assert np.isfinite(raw[135:]).all()


def test_windows_are_standardized_over_what_is_observed() -> None:
    source = WindowSource(training_views(made_corpus()), 160)
    rows = source.draw(np.random.default_rng(4), 100)
    again = source.draw(np.random.default_rng(4), 100)
    np.testing.assert_array_equal(rows, again)
    np.testing.assert_allclose(np.nanmean(rows, axis=1), 0.0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(rows, axis=1), 1.0, atol=1e-5)


def test_windows_longer_than_all_series_are_refused() -> None:
    with pytest.raises(InputError, match="corpus"):
        WindowSource(training_views(made_corpus()), 100_000)


def test_a_missing_folder_is_named_with_the_files_it_should_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLSTMD_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"XLSTMD_DATA.*series/train.*pjm_load"):
        data_root()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"series/train/air_quality_uci/series\.parquet"):
        load_corpus(tmp_path)


def test_loading_keeps_missing_values_and_refuses_infinite_ones(tmp_path: Path) -> None:
    for name in SOURCES:
        folder = tmp_path / "series" / "train" / name
        folder.mkdir(parents=True)
        table = arrow.table(
            {"id": ["a", "b"], "freq": ["h", "h"], "values": [[1.0, np.nan, 3.0], [4.0]]}
        )
        parquet.write_table(table, folder / "series.parquet")
    corpus = load_corpus(tmp_path)
    assert len(corpus) == 2 * len(SOURCES)
    np.testing.assert_array_equal(corpus[0].values, [1.0, np.nan, 3.0])
    broken = arrow.table({"id": ["a"], "freq": ["h"], "values": [[1.0, np.inf]]})
    path = tmp_path / "series" / "train" / "pjm_load" / "series.parquet"
    parquet.write_table(broken, path)
    with pytest.raises(InputError, match="pjm_load"):
        load_corpus(tmp_path)
