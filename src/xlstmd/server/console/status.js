"use strict";

/* The chip in the bar: whether the daemon answers, and with which model. */
const Status = (() => {
  const EVERY_MS = 5000;
  const at = (id) => document.getElementById(id);

  async function show(onReady) {
    let ready = "down", text = "no connection";
    try {
      const answer = await fetch("/api/v1/health");
      const body = await answer.json();
      ready = answer.ok ? "ready" : "busy";
      text = answer.ok ? body.model : body.code;
      if (answer.ok) await onReady();
    } catch {
      // The chip says it.
    }
    at("status").dataset.state = ready;
    at("model").textContent = text;
  }

  /* Shows the state now and every few seconds; calls a function each time the daemon is ready. */
  function watch(onReady = async () => {}) {
    show(onReady);
    setInterval(() => show(onReady), EVERY_MS);
  }

  return { watch };
})();
