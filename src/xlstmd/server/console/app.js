"use strict";

/* The console: reads a table, asks the daemon for a forecast, shows what comes back. */
(() => {
  const FORECAST = "/api/v1/xlstm/forecast";
  const LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
  const NAME = /^[A-Za-z0-9._-]{1,128}$/;
  const TABLE_ROWS = 500;
  const TYPING_PAUSE_MS = 250;

  const at = (id) => document.getElementById(id);
  const state = { series: [], shown: 0, view: "recent", answer: null, held: 0, asking: null };

  function readTable() {
    const text = at("csv").value;
    hideAlert();
    state.answer = null;
    state.series = [];
    if (text.trim() !== "") {
      try {
        state.series = Table.read(text);
      } catch (error) {
        showAlert("The table cannot be read", error.message, "");
      }
    }
    state.shown = 0;
    showSummary();
    showPicker();
    render();
  }

  function showSummary() {
    const count = state.series.length;
    const points = state.series.reduce((sum, one) => sum + one.values.length, 0);
    const noun = (number, word) => `${number.toLocaleString("en-US")} ${word}`;
    at("summary").textContent = count === 0 ? "No data yet"
      : `${noun(count, "series")}, ${noun(points, points === 1 ? "point" : "points")}`;
    at("run").disabled = count === 0;
  }

  function showPicker() {
    const picker = at("series");
    picker.replaceChildren(...state.series.map((one, index) => new Option(one.id, index)));
    at("picker").hidden = state.series.length < 2;
  }

  function heldBack(one) {
    return state.held ? Math.min(state.held, Math.max(0, one.values.length - 1)) : 0;
  }

  function request() {
    const horizon = Number(at("horizon").value);
    state.held = at("compare").checked ? horizon : 0;
    const series = state.series.map((one) => {
      const end = one.values.length - heldBack(one);
      const body = { values: one.values.slice(0, end) };
      if (NAME.test(one.id)) body.id = one.id;
      if (one.times) body.timestamps = one.times.slice(0, end);
      return body;
    });
    const body = { series, horizon, quantile_levels: LEVELS };
    if (at("models").value) body.model = at("models").value;
    return body;
  }

  async function forecast() {
    hideAlert();
    if (state.asking) state.asking.abort();
    const asking = new AbortController();
    state.asking = asking;
    at("run").dataset.busy = "true";
    try {
      const answer = await fetch(FORECAST, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "application/json" },
        body: JSON.stringify(request()),
        signal: asking.signal,
      });
      const body = await answer.json();
      if (!answer.ok) { showProblem(body); return; }
      state.answer = body;
      render();
    } catch (error) {
      if (error.name === "AbortError") return;
      showAlert("The daemon does not answer", "Is it still running? Try again in a moment.", "");
    } finally {
      if (state.asking === asking) delete at("run").dataset.busy;
    }
  }

  function showProblem(problem) {
    showAlert(`${problem.title} (${problem.status})`, problem.detail,
      `${problem.code}, request ${problem.request_id}`);
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

  /* A time in the table without an offset is UTC, as it is for the daemon. */
  function moment(text) {
    const plain = text.trim().replace(" ", "T");
    const zoned = /(Z|[+-]\d\d:?\d\d)$/.test(plain) || !plain.includes("T");
    return Date.parse(zoned ? plain : `${plain}Z`);
  }

  function chartData() {
    const one = state.series[state.shown];
    if (!one) return null;
    const forecast = state.answer && state.answer.forecasts[state.shown];
    const times = one.times ? one.times.map(moment) : [];
    const dated = times.length > 0 && times.every(Number.isFinite);
    const points = one.values.map((y, i) => ({ x: dated ? times[i] : i, y }));
    const end = points.length - (forecast ? heldBack(one) : 0);
    const future = forecast ? forecast.mean.map((mean, i) => ({
      x: dated && forecast.timestamps ? Date.parse(forecast.timestamps[i]) : end + i,
      mean,
      median: forecast.median[i],
      q: Object.fromEntries(Object.entries(forecast.quantiles).map(([k, v]) => [k, v[i]])),
    })) : [];
    return { name: one.id, dated, history: points.slice(0, end), actual: points.slice(end), future };
  }

  function render() {
    const data = chartData();
    at("empty").hidden = data !== null;
    at("chart-title").textContent = data ? data.name : "Forecast";
    const hasForecast = data !== null && data.future.length > 0;
    for (const id of ["facts", "numbers", "legend"]) at(id).hidden = !hasForecast;
    if (!data) { at("chart").querySelectorAll("svg, .tip").forEach((old) => old.remove()); return; }
    at("key-actual").hidden = data.actual.length === 0;
    Chart.draw(at("chart"), data, state.view);
    if (hasForecast) { showFacts(data); showNumbers(data); }
  }

  function showFacts(data) {
    const last = data.future[data.future.length - 1];
    at("fact-next").textContent = Chart.format(data.future[0].mean);
    at("fact-end").textContent = Chart.format(last.mean);
    at("fact-band").textContent =
      `${Chart.format(last.q["0.1"])} to ${Chart.format(last.q["0.9"])}`;
    const { timing, model } = state.answer;
    at("fact-time-name").textContent = `Time, ${model}`;
    at("fact-time").textContent = `${timing.total_ms.toFixed(1)} ms`;
  }

  function tableRows(data, format) {
    return data.future.map((point) => [
      Chart.formatX(point.x, data.dated), format(point.mean), format(point.median),
      ...LEVELS.map((level) => format(point.q[level])),
    ]);
  }

  function showNumbers(data) {
    const header = [data.dated ? "Time" : "Point", "Mean", "Median", ...LEVELS.map((l) => `q${l}`)];
    const row = (cells, tag) => {
      const line = document.createElement("tr");
      line.append(...cells.map((text) => Object.assign(document.createElement(tag), { textContent: text })));
      return line;
    };
    at("head").replaceChildren(row(header, "th"));
    const rows = tableRows(data, Chart.format).slice(0, TABLE_ROWS);
    at("rows").replaceChildren(...rows.map((cells) => row(cells, "td")));
  }

  function download() {
    const header = ["unique_id", "ds", "mean", ...LEVELS.map((level) => `q${level}`)];
    const rows = [];
    const shown = state.shown;
    state.series.forEach((one, index) => {
      state.shown = index;
      const data = chartData();
      data.future.forEach((point) => rows.push([
        one.id, data.dated ? Chart.formatX(point.x, true) : point.x, point.mean,
        ...LEVELS.map((level) => point.q[level]),
      ]));
    });
    state.shown = shown;
    const url = URL.createObjectURL(new Blob([Table.write(header, rows)], { type: "text/csv" }));
    Object.assign(document.createElement("a"), { href: url, download: "forecast.csv" }).click();
    URL.revokeObjectURL(url);
  }

  async function readFile(file) {
    if (!file) return;
    at("csv").value = await file.text();
    readTable();
  }

  async function loadExample() {
    const answer = await fetch("/console/example.csv");
    at("csv").value = await answer.text();
    at("horizon").value = 52;
    readTable();
    await forecast();
  }

  async function loadModels() {
    if (at("models").options.length) return;
    const answer = await fetch("/api/v1/xlstm/info");
    const info = await answer.json();
    const names = info.models.map((model) => model.model);
    at("models").replaceChildren(...names.map((name) => new Option(name, name)));
    at("models").value = info.model;
    at("horizon").max = info.limits.max_horizon;
  }

  function listen() {
    let typing = 0;
    at("csv").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(readTable, TYPING_PAUSE_MS);
    });
    at("example").addEventListener("click", loadExample);
    at("clear").addEventListener("click", () => { at("csv").value = ""; readTable(); });
    at("choose").addEventListener("click", () => at("file").click());
    at("file").addEventListener("change", (event) => readFile(event.target.files[0]));
    at("run").addEventListener("click", forecast);
    at("horizon").addEventListener("keydown", (event) => { if (event.key === "Enter") forecast(); });
    at("compare").addEventListener("change", () => { if (state.answer) forecast(); });
    at("download").addEventListener("click", download);
    at("series").addEventListener("change", (event) => {
      state.shown = Number(event.target.value);
      render();
    });
    document.querySelectorAll("[data-view]").forEach((button) => button.addEventListener("click", () => {
      state.view = button.dataset.view;
      document.querySelectorAll("[data-view]").forEach((other) =>
        other.setAttribute("aria-pressed", String(other === button)));
      render();
    }));
    new ResizeObserver(render).observe(at("chart"));
  }

  function listenForDrops() {
    const drop = at("drop");
    const over = (event) => { event.preventDefault(); drop.dataset.over = "true"; };
    drop.addEventListener("dragenter", over);
    drop.addEventListener("dragover", over);
    drop.addEventListener("dragleave", () => delete drop.dataset.over);
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      delete drop.dataset.over;
      readFile(event.dataTransfer.files[0]);
    });
  }

  listen();
  listenForDrops();
  Status.watch(loadModels);
})();
