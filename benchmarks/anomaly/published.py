"""Scores that others published on the same corpora.

Sources: scoreboard of NAB 1.0 in the README of github.com/numenta/NAB (of several seeds the least);
leaderboard of SKAB 0.9 for outliers in the README of github.com/waico/SKAB. The detectors of SKAB
are fitted to the first 400 points of each run, and see all sensors at once.
"""

from benchmarks.anomaly.corpora import Corpus
from benchmarks.anomaly.detectors import windowed_gaussian
from benchmarks.anomaly.nab import PROFILES, best_score
from benchmarks.harness import Row

# Standard, reward of few false alarms, reward of few misses.
NAB = {
    "Numenta HTM": (69.7, 61.7, 74.2),
    "CAD OSE": (69.9, 67.0, 73.2),
    "KNN CAD": (58.0, 43.4, 64.8),
    "Relative Entropy": (54.6, 47.6, 58.8),
    "Random Cut Forest": (51.7, 38.4, 59.7),
    "Twitter ADVec": (47.1, 33.6, 53.5),
    "Windowed Gaussian": (39.6, 20.9, 47.4),
    "Etsy Skyline": (35.7, 27.1, 44.5),
    "Bayesian Changepoint": (17.7, 3.2, 32.2),
    "EXPoSE": (16.4, 3.2, 26.9),
    "Random": (11.0, 1.2, 19.5),
}

# F1, FAR in %, MAR in %.
SKAB = {
    "Conv-AE": (0.79, 13.69, 17.77),
    "MSET": (0.73, 20.82, 20.08),
    "LSTM-AE": (0.68, 14.24, 35.56),
    "T-squared+Q": (0.67, 13.95, 36.32),
    "Vanilla LSTM": (0.64, 15.4, 39.93),
    "MSCRED": (0.64, 13.56, 41.16),
    "LSTM-VAE": (0.56, 9.13, 55.03),
    "T-squared": (0.56, 12.14, 52.56),
    "Vanilla AE": (0.45, 7.56, 66.57),
    "Isolation forest": (0.4, 6.86, 72.09),
}

# They have one decimal.
TOLERANCE = 0.051


def reproduce(corpus: Corpus) -> list[Row]:
    """Scores NAB's windowed Gaussian here, and compares with its published scores.

    Returns:
      A row for each profile.

    Raises:
      BenchmarkError: a score differs: series, windows or score are not the published ones.
    """
    scores = [windowed_gaussian(recording.series[0]) for recording in corpus.recordings]
    labels = [recording.labels for recording in corpus.recordings]
    rows = []
    for profile, there in zip(PROFILES, NAB["Windowed Gaussian"], strict=True):
        here = best_score(scores, labels, profile).value
        rows.append(
            Row(
                id=f"nab-windowed-gaussian-{profile.name}",
                value=here,
                unit="NAB score",
                better="higher",
                ours=here,
                peer=there,
                peer_name="published Windowed Gaussian",
                parity=abs(here - there),
                tolerance=TOLERANCE,
            )
        )
    return rows
