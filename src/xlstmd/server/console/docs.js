"use strict";

/* The API page: shows /openapi.json and sends requests to this daemon. */
(() => {
  const JSON_TYPE = "application/json";

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  const schemaName = (schema) => schema.$ref.split("/").pop();

  function typeText(schema) {
    if (!schema) return "";
    if (schema.$ref) return schemaName(schema);
    const variants = schema.anyOf || schema.oneOf;
    if (variants) return variants.map(typeText).join(" or ");
    if (schema.type === "array") return `list of ${typeText(schema.items) || "anything"}`;
    if (schema.type === "object" && schema.additionalProperties) {
      return `map of ${typeText(schema.additionalProperties) || "anything"}`;
    }
    return schema.type || "anything";
  }

  function notes(schema, required) {
    const found = [required ? "required" : ""];
    if (schema.minimum !== undefined) found.push(`at least ${schema.minimum}`);
    if (schema.description) found.push(schema.description);
    return found.filter(Boolean).join("; ");
  }

  function fieldTable(schema) {
    const rows = Object.entries(schema.properties || {}).map(([name, field]) => make("tr", {},
      make("td", {}, make("code", { textContent: name })),
      make("td", { textContent: typeText(field) }),
      make("td", { textContent: notes(field, (schema.required || []).includes(name)) })));
    const head = make("tr", {}, ...["Field", "Type", "Notes"].map((textContent) => make("th", { textContent })));
    return make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  function schemaParts(names, schemas, seen) {
    const parts = [];
    for (const name of names) {
      if (seen.has(name) || !schemas[name]) continue;
      seen.add(name);
      parts.push(make("h3", { textContent: name }));
      if (schemas[name].description) parts.push(make("p", { className: "lead", textContent: schemas[name].description }));
      parts.push(fieldTable(schemas[name]));
      const inner = JSON.stringify(schemas[name]).match(/#\/components\/schemas\/\w+/g) || [];
      parts.push(...schemaParts(inner.map(($ref) => schemaName({ $ref })), schemas, seen));
    }
    return parts;
  }

  function namesIn(content) {
    const schema = content && content[JSON_TYPE] && content[JSON_TYPE].schema;
    return schema && schema.$ref ? [schemaName(schema)] : [];
  }

  function curl(method, path, body) {
    const url = `${location.origin}${path}`;
    if (!body) return method === "GET" ? `curl ${url}` : `curl -X ${method} ${url}`;
    return `curl -X ${method} ${url} \\\n  -H 'content-type: ${JSON_TYPE}' \\\n  -d '${JSON.stringify(body)}'`;
  }

  const filled = (path) => path.replace("{surface}", "forecast").replace("{id}", "pump-7");

  async function shown(answer) {
    const type = answer.headers.get("content-type") || "";
    if (type.startsWith("application/octet-stream")) return `${(await answer.blob()).size} bytes`;
    const text = await answer.text();
    return type.includes("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
  }

  function tryIt(method, path, body) {
    const place = make("input", { value: filled(path), hidden: !path.includes("{"), ariaLabel: "Path" });
    const input = make("textarea", { value: body ? JSON.stringify(body, null, 2) : "", spellcheck: false, ariaLabel: "Request body" });
    const output = make("pre", { hidden: true });
    const button = make("button", { type: "button", className: "primary", textContent: "Send" });
    button.addEventListener("click", async () => {
      const options = body ? { method, headers: { "content-type": JSON_TYPE }, body: input.value } : { method };
      output.hidden = false;
      try {
        const answer = await fetch(place.value, options);
        output.textContent = `${answer.status}\n${await shown(answer)}`;
      } catch {
        output.textContent = "The daemon does not answer.";
      }
    });
    return [make("h3", { textContent: "Try it" }), make("div", { className: "field" }, place), ...(body ? [input] : []),
      make("div", { className: "row" }, button), output];
  }

  function operation(method, path, description, schemas) {
    const content = description.requestBody && description.requestBody.content[JSON_TYPE];
    const body = content && content.example;
    const seen = new Set();
    const parts = [];
    if (description.description) parts.push(make("p", { className: "lead", textContent: description.description }));
    if (description.requestBody) {
      parts.push(...schemaParts(namesIn(description.requestBody.content), schemas, seen));
    }
    parts.push(...schemaParts(namesIn(description.responses["200"].content), schemas, seen));
    const problems = Object.entries(description.responses).filter(([status]) => status >= "400");
    if (problems.length) {
      parts.push(make("h3", { textContent: "Problems" }), make("p", { className: "lead", textContent:
        problems.map(([status, problem]) => `${status} ${problem.description}`).join(", ") }));
    }
    // What takes a file is for a shell.
    if (!description.requestBody || body) {
      parts.push(make("h3", { textContent: "From a shell" }), make("pre", { textContent: curl(method, filled(path), body) }));
      parts.push(...tryIt(method, path, body));
    }
    const summary = make("summary", {}, make("span", { className: "method", textContent: method }),
      make("code", { textContent: path }), make("span", { className: "muted", textContent: description.summary }));
    return make("details", { className: "card", open: path.endsWith("/forecast") }, summary, ...parts);
  }

  async function show() {
    const answer = await fetch("/openapi.json");
    const { info, paths, components } = await answer.json();
    document.getElementById("title").textContent = `${info.title} API`;
    document.getElementById("lead").textContent = `${info.description} Version ${info.version}.`;
    const all = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods)
      .map(([method, description]) => operation(method.toUpperCase(), path, description, components.schemas)));
    document.getElementById("docs").append(...all);
  }

  show();
})();
