"use strict";

/* The live view: feeds a series to a stream over the WebSocket, and draws what it answers. */
(() => {
  const STREAM = "/api/v1/xlstm/forecast/stream";
  const SESSIONS = "/api/v1/xlstm/sessions/forecast";
  const LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
  const TYPING_PAUSE_MS = 250;
  const SHOWN_POINTS = 240;

  // So many points go first and at once, so that there is something to see.
  const HEAD_START = 96;

  const at = (id) => document.getElementById(id);
  const state = { series: null, run: null };

  function readTable() {
    hideAlert();
    state.series = null;
    const text = at("csv").value;
    if (text.trim() !== "") {
      try {
        [state.series] = Table.read(text);
      } catch (error) {
        showAlert("The table cannot be read", error.message, "");
      }
    }
    const count = state.series ? state.series.values.length : 0;
    at("summary").textContent = count ? `${state.series.id}, ${count.toLocaleString("en-US")} points`
      : "No data yet";
    at("start").disabled = count === 0;
  }

  /* Where point number i lies: at its time, where the table has times, as if they were even. */
  function placesOf(series) {
    const times = (series.times || []).map((time) => Date.parse(time));
    const dated = times.length > 1 && times.every(Number.isFinite);
    const step = dated ? (times[times.length - 1] - times[0]) / (times.length - 1) : 1;
    return { dated, x: (i) => (dated ? times[0] + i * step : i) };
  }

  function start() {
    stop();
    hideAlert();
    const { series } = state;
    const run = {
      series, places: placesOf(series), session: `console-${crypto.getRandomValues(new Uint32Array(1))[0]}`,
      seq: 0, next: 0, typed: [], points: [], flags: 0, future: [], answer: null,
      isWaiting: false, isPaused: false, isOver: false, timer: 0,
    };
    state.run = run;
    run.socket = new WebSocket(location.origin.replace(/^http/, "ws") + STREAM);
    // The first frame tells what the daemon allows; then it takes points.
    run.socket.addEventListener("message", () => feed(run), { once: true });
    run.socket.addEventListener("message", (event) => receive(run, JSON.parse(event.data)));
    run.socket.addEventListener("close", () => lost(run));
    at("start").textContent = "Start again";
    at("pause").disabled = at("point").disabled = false;
    at("pause").textContent = "Pause";
  }

  function stop() {
    const { run } = state;
    if (!run) return;
    run.isOver = true;
    clearTimeout(run.timer);
    run.socket.close();
    // What was only shown leaves nothing behind.
    fetch(`${SESSIONS}/${run.session}`, { method: "DELETE", keepalive: true }).catch(() => {});
    state.run = null;
  }

  function lost(run) {
    if (run.isOver) return;
    stop();
    showAlert("The stream has ended", "The daemon closed it. Start again once it runs.", "");
  }

  /* Sends what is due; one request is on its way at a time, so that a slow daemon sets the pace. */
  function feed(run) {
    if (run.isOver || run.isWaiting) return;
    const rate = Number(at("speed").value);
    const pause = run.seq === 0 ? 0 : Math.max(40, 1000 / rate);
    clearTimeout(run.timer);
    run.timer = setTimeout(() => {
      const values = run.typed.length ? run.typed.splice(0) : due(run, Math.max(1, Math.round(rate * pause / 1000)));
      if (values.length) send(run, values);
    }, run.typed.length ? 0 : pause);
  }

  function due(run, count) {
    if (run.isPaused) return [];
    const { values } = run.series;
    const size = run.seq === 0 ? Math.min(HEAD_START, Math.ceil(values.length / 2)) : count;
    const part = values.slice(run.next, run.next + size);
    run.next += part.length;
    return part;
  }

  function send(run, values) {
    run.isWaiting = true;
    run.sent = values;
    run.socket.send(JSON.stringify({
      session: run.session, seq: run.seq + 1, append: values, horizon: Number(at("horizon").value),
      quantile_levels: LEVELS, anomaly_rate: Number(at("rate").value),
    }));
  }

  function receive(run, body) {
    if (run.isOver || !run.isWaiting) return;
    run.isWaiting = false;
    if (body.code) {
      stop();
      showAlert(`${body.title} (${body.status})`, body.detail, `${body.code}, request ${body.request_id}`);
      return;
    }
    run.seq = body.seq;
    run.answer = body;
    body.anomaly.forEach((entry, i) => {
      const isFlagged = entry !== null && entry.flag;
      run.flags += isFlagged;
      run.points.push({ y: run.sent[i], isFlagged });
    });
    const { forecast } = body;
    run.future = forecast.mean.map((mean, i) => ({
      x: run.places.x(run.points.length + i), mean, median: forecast.median[i],
      q: Object.fromEntries(Object.entries(forecast.quantiles).map(([k, v]) => [k, v[i]])),
    }));
    render();
    feed(run);
  }

  function render() {
    const { run } = state;
    if (!run || !run.answer) return;
    const first = Math.max(0, run.points.length - SHOWN_POINTS);
    const history = run.points.slice(first)
      .map((point, i) => ({ x: run.places.x(first + i), ...point }));
    at("empty").hidden = true;
    at("legend").hidden = at("facts").hidden = false;
    at("chart-title").textContent = run.series.id;
    Chart.draw(at("chart"), {
      name: run.series.id, dated: run.places.dated, history, actual: [], future: run.future,
      flagged: history.filter((point) => point.isFlagged),
    }, "all");
    at("fact-points").textContent = run.points.length.toLocaleString("en-US");
    at("fact-flagged").textContent = run.flags.toLocaleString("en-US");
    at("fact-durable").textContent = `${run.answer.durable_seq} of ${run.answer.seq}`;
    at("fact-time").textContent = `${run.answer.timing.total_ms.toFixed(1)} ms`;
  }

  function appendByHand() {
    const { run } = state;
    const value = Number(at("point").value.replace(",", "."));
    if (!run || at("point").value.trim() === "" || !Number.isFinite(value)) return;
    run.typed.push(value);
    at("point").value = "";
    feed(run);
  }

  function pause() {
    const { run } = state;
    if (!run) return;
    run.isPaused = !run.isPaused;
    at("pause").textContent = run.isPaused ? "Go on" : "Pause";
    feed(run);
  }

  async function loadExample() {
    at("csv").value = await (await fetch("/console/example.csv")).text();
    readTable();
    start();
  }

  function showAlert(title, detail, more) {
    at("alert-title").textContent = title;
    at("alert-detail").textContent = detail;
    at("alert-more").textContent = more;
    at("alert").hidden = false;
  }

  function hideAlert() {
    at("alert").hidden = true;
  }

  let typing = 0;
  at("csv").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(readTable, TYPING_PAUSE_MS);
  });
  at("example").addEventListener("click", loadExample);
  at("start").addEventListener("click", start);
  at("pause").addEventListener("click", pause);
  at("point").addEventListener("keydown", (event) => { if (event.key === "Enter") appendByHand(); });
  window.addEventListener("pagehide", stop);
  new ResizeObserver(render).observe(at("chart"));
  Status.watch();
})();
