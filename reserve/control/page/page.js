// Fetches what the page shows once a second while its tab is visible, and draws the charts. Every text is set as text:
// a client chooses the path of its request, and the policy of the page allows no HTML from a script.
"use strict";
(() => {
  const EVERY = 1000, PATIENCE = 3500, SLOWEST = 10000;  // milliseconds
  const KEPT = 120;  // seconds of samples
  const SPANS = [[30, "30 seconds"], [60, "minute"], [KEPT, "two minutes"]];  // that the charts show, as time passes
  const SMOOTH = 5;  // seconds over which percentiles are taken
  const GAP = 4;  // seconds without a sample after which a line is interrupted
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 240, HEIGHT = 56;  // of a plot, in its own units
  const SPACE = "\u00a0", NONE = "\u2013";
  const byId = (name) => document.getElementById(name);

  // ---- numbers ----

  const count = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const rate = (value) => value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
  const duration = (value) => {
    if (value === Infinity) return `over${SPACE}30${SPACE}s`;
    if (value >= 0.9995) return `${value.toFixed(1)}${SPACE}s`;
    return `${(value * 1000).toFixed(value < 0.00995 ? 1 : 0)}${SPACE}ms`;
  };

  const percentile = (bounds, counts, fraction) => {
    const total = counts.reduce((sum, one) => sum + one, 0);
    if (total <= 0) return null;
    const rank = fraction * total;
    let seen = 0, low = 0;
    for (let at = 0; at < bounds.length; at++) {
      if (counts[at] && seen + counts[at] >= rank) return low + (bounds[at] - low) * (rank - seen) / counts[at];
      seen += counts[at];
      low = bounds[at];
    }
    return Infinity;
  };

  // The samples of the last two minutes, the newest at the end; each is the view, with its rates and percentiles.
  let samples = [];

  const counters = (view) => [...Object.values(view.counters), ...Object.values(view.histograms).flat()];

  const add = (view) => {
    const last = samples.at(-1);
    if (last && view.time === last.time) return;  // the server has given the same document again
    const older = last && counters(last), newer = counters(view);
    if (last && (view.time < last.time || newer.some((value, at) => value < older[at]))) {
      samples = [];  // another server, which counts from 0
    }
    samples = samples.filter((sample) => sample.time >= view.time - KEPT);
    const before = samples.at(-1);
    view.rates = {};
    view.percentiles = {};
    if (before) {
      const seconds = view.time - before.time;
      for (const name in view.counters) {
        view.rates[name] = (view.counters[name] - before.counters[name]) / seconds;
      }
      const first = samples.find((sample) => sample.time >= view.time - SMOOTH - 0.5) || before;
      for (const name in view.histograms) {
        const old = first.histograms[name];
        const counts = view.histograms[name].map((value, at) => value - (old[at] || 0));
        view.percentiles[name] = [0.5, 0.95, 0.99].map((fraction) => percentile(view.bounds, counts, fraction));
      }
    }
    samples.push(view);
  };

  // ---- charts ----

  const part = (sample, name, at) => (sample.percentiles[name] || [])[at] ?? null;
  const percentiles = (name) => ["p50", "p95", "p99"].map((label, at) => ({
    label, value: (sample) => part(sample, name, at), text: duration,
  }));
  const CHARTS = [
    {title: "Requests a second", area: true, least: 5, lines: [
      {label: "", value: (sample) => sample.rates.requests ?? null, text: rate}]},
    {title: "Errors a second", alarm: true, least: 1, lines: [
      {label: "5xx", value: (sample) => sample.rates.errors ?? null, text: rate},
      {label: "refused", value: (sample) => sample.rates.refused ?? null, text: rate}]},
    {title: "Latency", least: 0.001, text: duration, lines: percentiles("duration")},
    {title: "Busy threads", area: true, least: 1, most: (view) => view.now.max_threads, lines: [
      {label: ({now}) => now.threads === now.max_threads ? `of ${count(now.threads)}` :
        `of ${count(now.threads)}, at most ${count(now.max_threads)}`, value: (sample) => sample.now.busy, text: count}]},
    {title: "Wait for a thread", least: 0.001, text: duration, lines: percentiles("queue")},
    {title: "Connections", area: true, least: 5, lines: [
      {label: "open", value: (sample) => sample.now.connections, text: count},
      {label: "queued", value: (sample) => sample.now.waiting_requests, text: count}]},
  ];

  const element = (name, attributes = {}, text = "") => {
    const made = document.createElement(name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    made.textContent = text;
    return made;
  };
  const shape = (name, attributes = {}) => {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    return made;
  };

  for (const chart of CHARTS) {
    const box = element("div", {class: chart.alarm ? "chart alarm" : "chart"});
    const words = element("div", {class: "words"});
    words.append(element("h3", {}, chart.title));
    const values = element("div", {class: `values values-${chart.lines.length}`});
    chart.shown = chart.lines.map((line, at) => {
      const value = element("span", {class: "value"});
      if (chart.lines.length > 1) {
        const key = shape("svg", {class: "key", viewBox: "0 0 14 10", "aria-hidden": "true"});
        key.append(shape("line", {class: `series series-${at}`, x1: 0, y1: 6, x2: 14, y2: 6}));
        value.append(key);
      }
      const number = element("span", {}, NONE), label = element("small");
      value.append(number, " ", label);
      values.append(value);
      return {number, label};
    });
    const plot = element("div", {class: "plot"});
    chart.svg = shape("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img"});
    chart.svg.append(shape("line", {class: "frame", x1: 0, y1: HEIGHT, x2: WIDTH, y2: HEIGHT}));
    if (chart.area) chart.fill = chart.svg.appendChild(shape("path", {class: "area"}));
    chart.paths = chart.lines.map((line, at) =>
      chart.svg.appendChild(shape("path", {class: `series series-${at}`})));
    chart.most_label = element("span", {class: "most", "aria-hidden": "true"});
    plot.append(chart.svg, chart.most_label);
    words.append(values);
    box.append(words, plot);
    byId("charts").append(box);
  }

  // The next of 1, 2, 3, 4, 5, 6, 8, 10, 20 ..., so that the scale changes seldom.
  const round = (value) => {
    const size = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * size >= value * 0.9999) * size;
  };

  const draw = (chart, seconds, words) => {
    const newest = samples.at(-1);
    const series = chart.lines.map((line) => samples.map(line.value));
    const finite = series.flat().filter((value) => value !== null && value !== Infinity);
    const top = Math.max(chart.least, ...finite);
    const most = chart.most ? Math.max(chart.most(newest), top) : round(top);
    const x = (sample) => WIDTH * (1 - (newest.time - sample.time) / seconds);
    const y = (value) => HEIGHT * (1 - Math.min(value / most, 1));
    series.forEach((values, at) => {
      const runs = [];
      samples.forEach((sample, index) => {
        if (values[index] === null) return;
        const previous = samples[index - 1];
        const goes_on = index > 0 && values[index - 1] !== null && sample.time - previous.time < GAP;
        if (!goes_on) runs.push([]);
        runs.at(-1).push(`${x(sample).toFixed(1)} ${y(values[index]).toFixed(1)}`);
      });
      const end = (run) => run.length > 1 ? run.join("L") : `${run[0]}h0.1`;
      chart.paths[at].setAttribute("d", runs.map((run) => `M${end(run)}`).join(""));
      if (at === 0 && chart.fill) {
        const edge = (point) => `${point.split(" ")[0]} ${HEIGHT}`;
        chart.fill.setAttribute("d", runs.filter((run) => run.length > 1).map(
          (run) => `M${edge(run[0])}L${run.join("L")}L${edge(run.at(-1))}Z`).join(""));
      }
      const line = chart.lines[at], value = values.at(-1), shown = chart.shown[at];
      shown.number.textContent = value === null ? NONE : line.text(value);
      shown.label.textContent = typeof line.label === "function" ? line.label(newest) : line.label;
    });
    const text = chart.text || count;
    chart.most_label.textContent = text(most);
    const now = chart.shown.map((shown) => `${shown.label.textContent} ${shown.number.textContent}`.trim());
    chart.svg.setAttribute("aria-label",
      `${chart.title} in the last ${words}: now ${now.join(", ")}; highest ${finite.length ? text(top) : NONE}`);
  };

  // ---- texts and tables ----

  const set = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const fill = (name, table, more = () => []) => {
    const node = byId(name), body = node.tBodies[0];
    const heads = [...node.tHead.rows[0].cells];
    while (body.rows.length > Math.max(table.rows.length, 1)) body.deleteRow(-1);
    while (body.rows.length < Math.max(table.rows.length, 1)) body.insertRow().setAttribute("role", "row");
    table.rows.forEach((row, at) => {
      const made = body.rows[at], texts = [...row.cells, ...more(row)];
      if (made.cells.length !== heads.length) {
        made.replaceChildren(...heads.map((head, column) => {
          const cell = element(column ? "td" : "th", {role: column ? "cell" : "rowheader"});
          if (!column) cell.scope = "row";
          cell.className = head.dataset.cell || "";
          cell.dataset.label = head.textContent;
          return cell;
        }));
      }
      made.className = row.level;
      texts.forEach((text, column) => set(made.cells[column], text));
      if (name === "limits") show_share(made.cells[heads.length - 1], row.share);
    });
    if (!table.rows.length) {
      const cell = element("td", {role: "cell", class: "empty", colspan: heads.length}, node.dataset.empty);
      body.rows[0].className = "empty-row";
      body.rows[0].replaceChildren(cell);
    }
    const note = byId(`${name}-note`);
    if (note) set(note, table.note);
  };

  const show_share = (cell, share) => {
    if (share === null) {
      cell.replaceChildren();
      return;
    }
    if (!cell.firstChild) {
      const bar = shape("svg", {class: "bar", "aria-hidden": "true"});
      bar.append(shape("rect", {width: "100%", height: "100%", rx: 3}), shape("rect", {height: "100%", rx: 3}));
      cell.append(bar);
    }
    cell.firstChild.lastChild.setAttribute("width", `${(share * 100).toFixed(1)}%`);
  };

  const show = (view) => {
    byId("health").className = view.level;
    set(byId("headline-text"), view.headline);
    document.title = `${view.headline} ${NONE} reserve`;
    const reasons = byId("reasons");
    const wanted = view.reasons.join("\n");
    if (reasons.dataset.shown !== wanted) {
      reasons.dataset.shown = wanted;
      reasons.replaceChildren(...view.reasons.map((reason) => element("li", {}, reason)));
    }
    reasons.hidden = !view.reasons.length;
    byId("main").hidden = false;
    byId("facts").replaceChildren(...view.facts.map(([name, value]) => {
      const pair = element("div");
      pair.append(element("dt", {}, name), element("dd", {}, value));
      return pair;
    }));
    const time = byId("time"), when = new Date(view.time * 1000);
    time.dateTime = when.toISOString();
    set(time, when.toLocaleTimeString());
    fill("threads", view.threads);
    fill("processes", view.processes);
    fill("limits", view.limits);
    const minute = samples.find((sample) => sample.time >= view.time - 60.5);
    const before = new Map(minute.totals.rows.map((row) => [row.cells[0], row.number]));
    fill("totals", view.totals, (row) => {
      const grown = row.number - (before.get(row.cells[0]) ?? row.number);
      return [samples.length < 2 ? NONE : grown > 0 ? `+${count(grown)}` : grown < 0 ? `${NONE}${count(-grown)}` : "0"];
    });
    const age = view.time - samples[0].time;
    const [seconds, words] = SPANS.find(([most]) => age <= most) || SPANS.at(-1);
    set(byId("charts-title"), `The last ${words}`);
    CHARTS.forEach((chart) => draw(chart, seconds, words));
  };

  // ---- fetching ----

  let timer = 0, fetching = false, paused = false, failures = 0, failing_since = null, begun = -EVERY;

  const trouble = (text) => {
    const node = byId("trouble");
    set(node, text);
    node.hidden = !text;
    document.body.classList.toggle("old", Boolean(text));
    if (text) {  // what the page says is not so any more
      byId("health").className = "bad";
      set(byId("headline-text"), "No news");
      byId("reasons").hidden = true;
      document.title = `No news ${NONE} reserve`;
    }
  };

  const update = async () => {
    fetching = true;
    begun = performance.now();
    try {
      const response = await fetch("?view", {cache: "no-store", signal: AbortSignal.timeout(PATIENCE)});
      if (!response.ok) {
        const is_text = (response.headers.get("Content-Type") || "").startsWith("text/plain");
        const text = is_text && response.status === 503 ? (await response.text()).trim().slice(0, 500) : "";
        throw new Error(text || `the server responds with ${response.status}`);
      }
      const view = await response.json();
      if (view.version !== 1) throw new Error("it is of another release; load the page again");
      add(view);
      failures = 0;
      failing_since = null;
      trouble("");
      byId("charts-section").hidden = false;
      show(view);
    } catch (error) {
      failures += 1;
      failing_since = failing_since || new Date();
      const reason = error.name === "TimeoutError" ? "it does not respond" :
        error instanceof TypeError ? "it cannot be reached" : error.message;
      trouble(`No news of the server since ${failing_since.toLocaleTimeString()}: ${reason}.`);
    } finally {
      fetching = false;
      // At once after the first failure: its connection may be that of a process that is stopped, the next is not.
      schedule(failures > 1 ? Math.min(EVERY * 2 ** (failures - 1), SLOWEST) : 0);
    }
  };

  const schedule = (delay) => {
    clearTimeout(timer);
    if (paused || fetching || document.hidden) return;
    timer = setTimeout(update, Math.max(delay, begun + EVERY - performance.now()));
  };

  const pause = byId("pause");
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    schedule(0);
  });
  document.addEventListener("visibilitychange", () => schedule(0));
  schedule(0);
})();
