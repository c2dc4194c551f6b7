"""How well surprises tell anomalies: NAB and SKAB, beside plain detectors.

    python -m benchmarks.anomaly [--output FILE]

Every detector gives surprises, -ln of the share of the tail in which a point lies by its forecast,
and all of them are judged alike: by NAB's threshold over the whole corpus, and by the flags that
`xlstmd.models.calibration` makes of them. First the published score of NAB's windowed Gaussian is
reproduced; where that fails, nothing else is shown. Nothing is tuned on these series.
"""
