"use strict";

/* Draws one series with its forecast into an element; D3 makes scales, axes and paths. */
const Chart = (() => {
  const MARGIN = { top: 12, right: 24, bottom: 30, left: 56 };
  const BANDS = [["0.1", "0.9"], ["0.2", "0.8"], ["0.3", "0.7"], ["0.4", "0.6"]];
  const POINTS_PER_PIXEL = 2;
  const RECENT_HORIZONS = 4;
  const RECENT_LEAST = 60;

  const shorten = d3.format(".4g");

  /* The coarsest part of a time that tells it from its neighbors; days and hours as in ISO 8601. */
  const tickTime = d3.time.format.utc.multi([
    ["%H:%M", (time) => time.getUTCHours() || time.getUTCMinutes()],
    ["%b %-d", (time) => time.getUTCDate() !== 1],
    ["%b", (time) => time.getUTCMonth()],
    ["%Y", () => true],
  ]);

  function format(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "missing";
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e7 || size < 1e-3)) return value.toExponential(2);
    return Number(shorten(value)).toLocaleString("en-US", { maximumFractionDigits: 4 });
  }

  function formatX(x, dated) {
    if (!dated) return `point ${x + 1}`;
    const text = new Date(x).toISOString();
    return text.endsWith("T00:00:00.000Z") ? text.slice(0, 10) : text.slice(0, 16).replace("T", " ");
  }

  /* Keeps first, last, least and greatest of each pixel's points, so that no peak is lost. */
  function thin(points, room) {
    if (points.length <= room * POINTS_PER_PIXEL) return points;
    const size = Math.ceil(points.length / (room / 2));
    const kept = [];
    for (let i = 0; i < points.length; i += size) {
      const part = points.slice(i, i + size);
      const seen = part.filter((point) => point.y !== null);
      if (!seen.length) { kept.push(part[0]); continue; }
      const low = seen.reduce((a, b) => (b.y < a.y ? b : a));
      const high = seen.reduce((a, b) => (b.y > a.y ? b : a));
      kept.push(...[low, high].sort((a, b) => a.x - b.x));
    }
    return kept;
  }

  function visible(data, view) {
    if (view === "all") return data.history;
    const count = Math.max(RECENT_LEAST, RECENT_HORIZONS * data.future.length);
    return data.history.slice(-count);
  }

  function scales(data, history, width, height) {
    const everything = history.concat(data.future, data.actual);
    const x = (data.dated ? d3.time.scale.utc() : d3.scale.linear())
      .domain(d3.extent(everything, (point) => point.x)).range([0, width]);
    const ys = history.concat(data.actual).map((point) => point.y)
      .concat(...data.future.map((point) => [point.q["0.1"], point.q["0.9"], point.mean]))
      .filter((y) => y !== null && Number.isFinite(y));
    let [low, high] = d3.extent(ys);
    if (low === undefined) [low, high] = [0, 1];
    const room = high > low ? 0.06 * (high - low) : Math.abs(low) * 0.1 || 1;
    // Counts and the like must not seem to fall below zero.
    const floor = low >= 0 ? Math.max(0, low - room) : low - room;
    const y = d3.scale.linear().domain([floor, high + room]).nice(6).range([height, 0]);
    return { x, y };
  }

  function axes(plot, x, y, width, height, dated) {
    const ticks = Math.max(2, Math.floor(width / 90));
    const below = d3.svg.axis().scale(x).orient("bottom").ticks(ticks).tickSize(0).tickPadding(10);
    below.tickFormat(dated ? tickTime : (value) => d3.format(",")(value + 1));
    const left = d3.svg.axis().scale(y).orient("left").ticks(Math.max(3, height / 60))
      .tickSize(-width).tickPadding(8)
      .tickFormat((value) => (Math.abs(value) >= 1e4 ? d3.format("s")(value) : format(value)));
    plot.append("g").attr("class", "axis axis-y").call(left);
    plot.append("g").attr("class", "axis axis-x").attr("transform", `translate(0,${height})`)
      .call(below);
  }

  function lines(plot, data, history, { x, y }, width) {
    const path = d3.svg.line().defined((point) => point.y !== null)
      .x((point) => x(point.x)).y((point) => y(point.y));
    const draw = (name, points) =>
      plot.append("path").attr("class", `line ${name}`).attr("d", path(points));
    const last = history.filter((point) => point.y !== null).slice(-1);
    const start = last.map((point) => ({ x: point.x, mean: point.y, median: point.y, at: point.y }));
    const future = data.future.length ? start.concat(data.future) : [];
    for (const [low, high] of BANDS) {
      const area = d3.svg.area().x((point) => x(point.x))
        .y0((point) => y(point.q ? point.q[low] : point.at))
        .y1((point) => y(point.q ? point.q[high] : point.at));
      if (future.length) plot.append("path").attr("class", "band").attr("d", area(future));
    }
    draw("history", thin(history, width));
    const lone = history.filter((point, i) => point.y !== null
      && !(history[i - 1] && history[i - 1].y !== null)
      && !(history[i + 1] && history[i + 1].y !== null));
    plot.selectAll(".lone").data(lone).enter().append("circle").attr("class", "lone")
      .attr("r", 2).attr("cx", (point) => x(point.x)).attr("cy", (point) => y(point.y));
    plot.selectAll(".flag").data(data.flagged || []).enter().append("circle").attr("class", "flag")
      .attr("r", 5).attr("cx", (point) => x(point.x)).attr("cy", (point) => y(point.y));
    if (!future.length) return;
    draw("median", future.map((point) => ({ x: point.x, y: point.median })));
    draw("mean", future.map((point) => ({ x: point.x, y: point.mean })));
    if (data.actual.length) draw("actual", last.concat(data.actual));
  }

  function nearest(points, at) {
    const index = d3.bisector((point) => point.x).left(points, at);
    const [before, after] = [points[index - 1], points[index]];
    if (!before) return after;
    return !after || at - before.x < after.x - at ? before : after;
  }

  function tipText(point, data) {
    const rows = [["", formatX(point.x, data.dated)]];
    if (point.q) {
      rows.push(["Mean", format(point.mean)], ["Median", format(point.median)]);
      rows.push(["80 %", `${format(point.q["0.1"])} to ${format(point.q["0.9"])}`]);
      const actual = data.actual.find((other) => other.x === point.x);
      if (actual) rows.push(["Held back", format(actual.y)]);
    } else rows.push(["Value", format(point.y)]);
    return rows;
  }

  function pointer(element, svg, plot, data, history, { x }, width, height) {
    const points = history.concat(data.future);
    const rule = plot.append("line").attr("class", "rule").attr("y1", 0).attr("y2", height)
      .style("display", "none");
    const tip = d3.select(element).append("div").attr("class", "tip").style("display", "none");
    const hide = () => { rule.style("display", "none"); tip.style("display", "none"); };
    svg.on("mouseleave", hide).on("touchend", hide);
    svg.on("mousemove", move).on("touchmove", move);

    function move() {
      const [left] = d3.mouse(plot.node());
      const point = nearest(points, Number(x.invert(Math.max(0, Math.min(width, left)))));
      if (!point) return;
      const at = x(point.x);
      rule.attr("x1", at).attr("x2", at).style("display", null);
      const rows = tip.style("display", null).selectAll("p").data(tipText(point, data));
      rows.enter().append("p");
      rows.exit().remove();
      rows.text((row) => row.filter(Boolean).join("  "));
      const room = tip.node().offsetWidth + 14;
      const side = at + MARGIN.left + room > width + MARGIN.left ? at - room : at + 14;
      tip.style("left", `${Math.max(4, side + MARGIN.left)}px`).style("top", `${MARGIN.top + 6}px`);
    }
  }

  /* Draws. data: {history, future, actual, flagged: [{x, y | mean, median, q}], dated, name}. */
  function draw(element, data, view) {
    const width = Math.max(120, element.clientWidth - MARGIN.left - MARGIN.right);
    const height = Math.max(160, element.clientHeight - MARGIN.top - MARGIN.bottom);
    d3.select(element).selectAll("svg, .tip").remove();
    const history = visible(data, view);
    const svg = d3.select(element).append("svg").attr("role", "img")
      .attr("aria-label", `${data.name}: ${data.history.length} points, forecast of ${data.future.length}`)
      .attr("width", width + MARGIN.left + MARGIN.right)
      .attr("height", height + MARGIN.top + MARGIN.bottom);
    const plot = svg.append("g").attr("transform", `translate(${MARGIN.left},${MARGIN.top})`);
    const both = scales(data, history, width, height);
    axes(plot, both.x, both.y, width, height, data.dated);
    if (data.future.length && history.length) {
      const now = both.x(history[history.length - 1].x);
      plot.append("line").attr("class", "now").attr("x1", now).attr("x2", now)
        .attr("y1", 0).attr("y2", height);
    }
    lines(plot, data, history, both, width);
    pointer(element, svg, plot, data, history, both, width, height);
  }

  return { draw, format, formatX };
})();
