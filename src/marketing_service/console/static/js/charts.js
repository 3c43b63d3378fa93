/** Charts. Each one has the same numbers as text or as a table, for screen readers. */

import { h, svg } from "./dom.js";
import { dateTime, number } from "./format.js";

const STATES = ["delivered", "sending", "queued", "deferred", "skipped", "unconfirmed", "failed"];
const LABELS = {
  delivered: "Delivered",
  sending: "Sending",
  queued: "Queued",
  deferred: "Deferred",
  skipped: "Skipped",
  unconfirmed: "Unconfirmed",
  failed: "Failed",
};

/** The number of recipients in each state, as one stacked bar with a legend. */
export function statusBar(stats) {
  const parts = STATES.filter((state) => stats[state] > 0);
  const bar = h(
    "div",
    { class: "status-bar", "aria-hidden": "true" },
    parts.map((state) => h("span", { class: `part ${state}`, css: { "flex-grow": String(stats[state]) } })),
  );
  const legend = h(
    "ul",
    { class: "legend" },
    parts.map((state) => h("li", {}, h("span", { class: `dot ${state}` }), LABELS[state], " ", h("b", {}, number(stats[state])))),
  );
  return h("div", {}, bar, legend);
}

const SERIES = [
  ["delivered", "Delivered"],
  ["opens", "Opened"],
  ["clicks", "Clicked"],
  ["unsubscribes", "Unsubscribed"],
];
const WIDTH = 720;
const HEIGHT = 220;
const MARGIN = { left: 48, right: 12, top: 12, bottom: 28 };

/**
 * Deliveries, opens, clicks and unsubscribes over time. The lines are cumulative: in a chart of separate minutes, the
 * minute of sending would be so high that the later ones could not be seen.
 */
export function timelineChart({ from, bucketSeconds, items }) {
  const sums = cumulative(from, bucketSeconds, items);
  const lines = SERIES.filter(([key]) => sums.at(-1)[key] > 0);
  const highest = roundUp(Math.max(1, ...lines.map(([key]) => sums.at(-1)[key])));
  const x = (at) => MARGIN.left + (at / Math.max(1, sums.length - 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (value) => HEIGHT - MARGIN.bottom - (value / highest) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => part * highest).filter(Number.isInteger);
  const picture = svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true", focusable: "false" },
    ticks.map((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, number(value)),
    ]),
    timeLabels(sums).map(([at, label, anchor]) => svg("text", { x: x(at), y: HEIGHT - 8, "text-anchor": anchor }, label)),
    lines.map(([key]) => [
      key === "delivered" && svg("path", { class: `area ${key}`, d: `${path(sums, key, x, y)}V${y(0)}H${x(0)}z` }),
      svg("path", { class: `line ${key}`, d: path(sums, key, x, y) }),
    ]),
  );
  return h(
    "figure",
    { class: "timeline" },
    picture,
    h("figcaption", {}, h("ul", { class: "legend" }, lines.map(([key, label]) => h("li", {}, h("span", { class: `dot ${key}` }), label, " ", h("b", {}, number(sums.at(-1)[key])))))),
    h("details", {}, h("summary", {}, "Show as table"), h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Deliveries and opens over time" }, table(sums, lines))),
  );
}

/** The sums at the end of each bucket. The first point, at the launch, is zero. */
function cumulative(from, bucketSeconds, items) {
  const nothing = Object.fromEntries(SERIES.map(([key]) => [key, 0]));
  const sum = { ...nothing };
  const ends = items.map((item) => {
    SERIES.forEach(([key]) => (sum[key] += item[key] ?? 0));
    return { at: new Date(item.at).getTime() + bucketSeconds * 1000, ...sum };
  });
  return [{ at: new Date(from).getTime(), ...nothing }, ...ends];
}

function path(sums, key, x, y) {
  return sums.map((sum, at) => `${at === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(sum[key]).toFixed(1)}`).join("");
}

/** The smallest of 1, 2, 4, 5, 10, 20 … that is not less than `value`. */
function roundUp(value) {
  const magnitude = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((step) => step * magnitude).find((step) => step >= value);
}

function timeLabels(sums) {
  const sameDay = new Date(sums[0].at).toDateString() === new Date(sums.at(-1).at).toDateString();
  const format = new Intl.DateTimeFormat("en-GB", sameDay ? { timeStyle: "short" } : { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  const label = (at) => format.format(new Date(sums[at].at));
  const last = sums.length - 1;
  const middle = last >= 4 ? [[Math.round(last / 2), label(Math.round(last / 2)), "middle"]] : [];
  return [[0, label(0), "start"], ...middle, [last, label(last), "end"]];
}

function table(sums, lines) {
  const head = h("tr", {}, h("th", { scope: "col" }, "Up to"), lines.map(([, label]) => h("th", { scope: "col", class: "end" }, label)));
  const rows = sums
    .filter((sum, at) => at === 0 || lines.some(([key]) => sum[key] !== sums[at - 1][key]))
    .map((sum) => h("tr", {}, h("th", { scope: "row" }, dateTime(sum.at)), lines.map(([key]) => h("td", { class: "end" }, number(sum[key])))));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, rows));
}
