// Charts of the last hour of a component. This file and uPlot are loaded when the first chart is asked for.

import { h } from "./dom.js";
import { UNKNOWN, count, duration, rate } from "./format.js";
import uPlot from "./uplot.js";

const HEIGHT = 150;
// Title, how a number is written, and the lines: field of the answer, name, and colour of the page.
const CHARTS = [
  ["Messages per second", rate, [["inRate", "in", "--function-line"], ["outRate", "processed", "--good"]]],
  ["Backlog", count, [["backlog", "backlog", "--wait"]]],
  ["Lag", duration, [["lagSeconds", "lag", "--stall"]]],
  ["Pods", (number) => (number === null || number === undefined ? UNKNOWN : String(number)), [["ready", "ready", "--good"], ["wanted", "wanted", "--soft"]]],
];

function style() {
  if (document.querySelector("link[href='/assets/uplot.css']")) return;
  document.head.append(h("link", { rel: "stylesheet", href: "/assets/uplot.css" }));
}

// Draws all charts into an element, which is emptied. Without samples it says so.
export function draw(element, series) {
  style();
  for (const old of element.querySelectorAll(".chart")) old.uplot?.destroy();
  element.replaceChildren();
  if (series.times.length === 0) {
    element.append(h("p", {}, "No samples yet: there is one every 30 seconds while the console runs."));
    return;
  }
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  for (const [title, write, lines] of CHARTS) {
    const known = lines.filter(([field]) => series[field].some((number) => number !== null));
    const text = known.map(([field, name]) => `${name} ${write(series[field].at(-1))}, at most ${write(Math.max(...series[field].filter((it) => it !== null)))}`);
    const label = `${title} of the last hour: ${text.join("; ") || "unknown"}`;
    const chart = h("figure", { class: "chart", role: "img", "aria-label": label }, h("figcaption", {}, title, known.length === 0 && ": unknown"));
    element.append(chart);
    if (known.length === 0) continue;
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const options = {
      width: Math.max(200, element.clientWidth - 20),
      height: HEIGHT,
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.05 : 1] } },
      axes: [axis, { ...axis, size: 60, values: (_, numbers) => numbers.map(write) }],
      series: [{ value: (_, time) => (time ? new Date(time * 1000).toLocaleTimeString() : UNKNOWN) }, ...known.map(([, name, line]) => ({ label: name, stroke: colour(line), width: 2, value: (_, number) => write(number) }))],
    };
    chart.uplot = new uPlot(options, [series.times, ...known.map(([field]) => series[field])], chart);
  }
}
