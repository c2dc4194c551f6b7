"use strict";

/* Reads CSV text into series: {id, values, times}. `times` is null for points without dates. */
const Table = (() => {
  const MISSING = new Set(["", "na", "nan", "null", "none", "n/a", "-"]);
  const DATE = /^\d{4}-\d{1,2}(-\d{1,2})?([T ].*)?$|^\d{1,4}[./]\d{1,2}[./]\d{1,4}/;
  const DELIMITERS = ["\t", ";", ","];
  const ID_NAMES = ["unique_id", "id", "series", "item_id", "name"];
  const TIME_NAMES = ["ds", "date", "time", "timestamp", "datetime", "index", "step"];
  const VALUE_NAMES = ["y", "value", "target", "values"];

  function delimiterOf(line) {
    return DELIMITERS.find((mark) => line.includes(mark)) || ",";
  }

  function cells(line, delimiter) {
    const found = [];
    let cell = "", quoted = false;
    for (let i = 0; i < line.length; i++) {
      const letter = line[i];
      if (quoted) {
        if (letter === '"' && line[i + 1] === '"') { cell += '"'; i++; }
        else if (letter === '"') quoted = false;
        else cell += letter;
      } else if (letter === '"') quoted = true;
      else if (letter === delimiter) { found.push(cell.trim()); cell = ""; }
      else cell += letter;
    }
    found.push(cell.trim());
    return found;
  }

  /* Gives a number, null for a missing value, undefined for anything else. */
  function number(text, delimiter) {
    const clean = (text || "").trim();
    if (MISSING.has(clean.toLowerCase())) return null;
    const value = Number(delimiter === ";" ? clean.replace(",", ".") : clean);
    return Number.isFinite(value) ? value : undefined;
  }

  function rowsOf(text) {
    // Empty lines at the ends mean nothing; one in the middle of a single column is a gap.
    const lines = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n")
      .replace(/^\n+/, "").replace(/\s+$/, "").split("\n");
    if (lines.length === 1 && lines[0].trim() === "") throw new Error("The table is empty.");
    const delimiter = delimiterOf(lines[0]);
    const wide = cells(lines[0], delimiter).length > 1;
    const rows = lines.filter((line) => !wide || line.trim() !== "")
      .map((line) => cells(line, delimiter));
    return { rows, delimiter };
  }

  function isHeader(row, delimiter) {
    return row.some((cell) => number(cell, delimiter) === undefined && !DATE.test(cell));
  }

  function findColumn(names, wanted) {
    return names.findIndex((name) => wanted.includes(name.toLowerCase()));
  }

  function layout(rows, delimiter) {
    const hasHeader = isHeader(rows[0], delimiter);
    const body = hasHeader ? rows.slice(1) : rows;
    if (!body.length) throw new Error("The table has a header but no values.");
    const names = hasHeader ? rows[0] : rows[0].map((_, i) => `column-${i + 1}`);
    let id = findColumn(names, ID_NAMES), time = findColumn(names, TIME_NAMES);
    if (time < 0) time = body[0].findIndex((cell) => DATE.test(cell));
    if (id < 0 && findColumn(names, VALUE_NAMES) >= 0 && names.length === 3) {
      id = names.findIndex((_, i) => i !== time && !VALUE_NAMES.includes(names[i].toLowerCase()));
    }
    const value = findColumn(names, VALUE_NAMES);
    const values = value >= 0 ? [value]
      : names.map((_, i) => i).filter((i) => i !== id && i !== time);
    return { body, names, id, time, values, firstLine: hasHeader ? 2 : 1 };
  }

  function collect(shape, delimiter) {
    const found = new Map();
    shape.body.forEach((row, index) => {
      for (const column of shape.values) {
        const own = shape.values.length > 1 ? shape.names[column] : "";
        const key = [shape.id >= 0 ? row[shape.id] : "", own].filter(Boolean).join("/") || "series";
        const value = number(row[column], delimiter);
        if (value === undefined) {
          const line = index + shape.firstLine;
          throw new Error(`Line ${line}: expected a number or nothing, got "${row[column]}".`);
        }
        if (!found.has(key)) found.set(key, { id: key, values: [], times: [] });
        found.get(key).values.push(value);
        if (shape.time >= 0) found.get(key).times.push(row[shape.time]);
      }
    });
    return [...found.values()];
  }

  /* Gives all series of a text, or throws an Error that says what is wrong. */
  function read(text) {
    const { rows, delimiter } = rowsOf(text);
    const shape = layout(rows, delimiter);
    if (!shape.values.length) throw new Error("The table has no column of numbers.");
    const series = collect(shape, delimiter);
    for (const one of series) {
      const dated = one.times.length > 0 && one.times.every((time) => DATE.test(time));
      one.times = dated ? one.times : null;
    }
    return series;
  }

  function write(header, rows) {
    const quote = (cell) => /[",\n]/.test(cell) ? `"${String(cell).replace(/"/g, '""')}"` : cell;
    return [header, ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n";
  }

  return { read, write };
})();
