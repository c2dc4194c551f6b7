"""What a session must answer: every step that was taken, replayed by a stream of the test's own."""

import json
from types import SimpleNamespace

import numpy as np

from tests.engine.streams import LEVELS, Replay
from xlstmd.server.append import APPEND_PATH

SESSIONS = "/api/v1/xlstm/sessions/forecast"
PARTS = ("seq", "observed", "forecast", "anomaly")


def step_of(body):
    """Gives what a model takes, read from a request in plain words."""
    return SimpleNamespace(
        values=np.array([np.nan if one is None else one for one in body["append"]], dtype=float),
        horizon=body.get("horizon", 0),
        quantile_levels=tuple(body.get("quantile_levels", ())),
        anomaly_rate=body.get("anomaly_rate"),
    )


def wire_of(body, answer):
    """Gives what must stand in the answer to a request."""
    wire = {"seq": body.get("seq"), "observed": answer.observed}
    forecast, scores = answer.forecast, answer.scores
    if forecast is not None:
        wire["forecast"] = {
            "mean": forecast.mean[0].tolist(),
            "median": forecast.median[0].tolist(),
            "quantiles": {
                repr(level): forecast.quantiles[0, :, column].tolist()
                for column, level in enumerate(forecast.quantile_levels)
            },
            "mean_method": forecast.mean_method,
        }
    if scores is not None:
        wire["anomaly"] = [
            _entry(value, *row)
            for value, *row in zip(
                body["append"],
                scores.quantile.tolist(),
                scores.surprise.tolist(),
                scores.flag.tolist(),
                strict=True,
            )
        ]
    return wire


def _entry(value, quantile, surprise, flag):
    if value is None:
        return None
    return {
        "value": value,
        "quantile": None if np.isnan(quantile) else quantile,
        "surprise": None if np.isnan(surprise) else surprise,
        "flag": flag,
    }


def assert_same(answer, expected):
    """Compares an answer to the bit: JSON has every float64 as it is."""
    shown = {name: answer[name] for name in PARTS if name in answer}
    assert json.dumps(shown, sort_keys=True) == json.dumps(expected, sort_keys=True)


class Reference:
    """One session: the requests that its stream takes one after the other, and their answers.

    Attributes:
      name: of the session.
      bodies: the requests, number 1 first.
      expected: what must stand in the answers.
      durable: whether each step is to be on disk before it is answered.
    """

    def __init__(self, forecaster, name, *, durable=False, bodies=()):
        self.forecaster = forecaster
        self.name = name
        self.durable = durable
        self.bodies, self.expected = [], []
        self._replay = Replay(forecaster)
        for body in bodies:
            self._take(body)

    @property
    def seq(self):
        return len(self.bodies)

    def next(self, append, **more):
        """Makes the next request, and knows its answer."""
        body = {"session": self.name, "seq": self.seq + 1, "append": append, **more}
        if body.get("horizon"):
            body.setdefault("quantile_levels", list(LEVELS))
        if self.durable and self.seq == 0:
            body["durable"] = "every_step"
        return self._take(body)

    def _take(self, body):
        self.expected.append(wire_of(body, self._replay(step_of(body))))
        self.bodies.append(body)
        return body

    def cut(self, seq):
        """Goes back to what the stream was after a request."""
        if seq < self.seq:
            self.__init__(
                self.forecaster, self.name, durable=self.durable, bodies=self.bodies[:seq]
            )

    def fork(self, name):
        """Gives another session that has taken the same."""
        bodies = [{**body, "session": name} for body in self.bodies]
        return Reference(self.forecaster, name, durable=self.durable, bodies=bodies)

    def question(self, horizon):
        """Gives a request that only asks, and its answer."""
        body = {"session": self.name, "append": [], "horizon": horizon}
        body["quantile_levels"] = list(LEVELS)
        return body, {**wire_of(body, self._replay(step_of(body))), "seq": self.seq}

    def check(self, client, daemon):
        """Holds the daemon's stream to this one: its last answer again, and another forecast."""
        body, expected = self.question(17)
        for request, wanted in ((self.bodies[-1], self.expected[-1]), (body, expected)):
            answer = post(client, daemon, request)
            assert answer.status_code == 200, answer.text
            assert_same(answer.json(), wanted)


def post(client, daemon, body, **headers):
    """Sends an append that the daemon will count."""
    answer = client.post(APPEND_PATH, json=body, headers=headers)
    daemon.note_sent()
    return answer


def random_append(rng, *, first=False):
    """Gives some points, a few of them missing, and what is asked after them."""
    base = rng.uniform(-5.0, 5.0)
    points = [base + rng.gauss(0.0, 1.0) for _ in range(rng.choice((1, 1, 2, 7, 40)))]
    points = [None if rng.random() < 0.05 else point for point in points]
    more = {}
    if first:
        points[0] = base
    if rng.random() < 0.6:
        more["horizon"] = rng.choice((1, 5, 33))
    if rng.random() < 0.5:
        more["anomaly_rate"] = 0.05
    return points, more
