/** The check of a draft: a dry run of its launch over the whole audience, and what it found. */

import * as api from "./api.js";
import { h, put } from "./dom.js";
import { count, duration, moment, number, people } from "./format.js";
import { busy, button, card, mention } from "./components.js";

const POLL_MILLISECONDS = 700;
const SEVERITIES = { error: ["Error", "danger"], warning: ["Warning", "warning"], note: ["Note", ""] };

/** How many errors the check has found, where it is one of the draft as it is now. */
export function errorsOf(check) {
  return check?.report && !check.stale ? check.report.findings.filter(({ severity }) => severity === "error").length : 0;
}

/** `{element, last(), leave()}`; `first` is the last check, or null. */
export function checkCard(id, first) {
  let check = first;
  let timer = 0;
  const body = h("div", {});
  const start = button("Check now", begin, { drawing: "check" });
  const element = card("Check before launch", body, { actions: start });

  async function begin() {
    const asked = await busy(start, () => api.check(id));
    if (asked === null) return;
    check = asked;
    show();
  }

  async function poll() {
    try {
      check = await api.lastCheck(id);
    } catch {
      // It goes on without us; the next look tells.
    }
    show();
    if (check?.status === "DONE") mention(`The check is done: ${count(check.report.findings.length, "finding", "findings")}.`);
  }

  function show() {
    clearTimeout(timer);
    if (check === null) put(body, h("p", { class: "quiet" }, "Looks over the message and every contact, as a launch would, and sends nothing."));
    else if (check.status === "DONE") put(body, stale(check), report(check.report));
    else if (check.status === "FAILED") put(body, stale(check), h("p", {}, `It could not be carried out: ${check.failure}`));
    else {
      put(body, working(check.progress));
      timer = setTimeout(poll, POLL_MILLISECONDS);
    }
    start.lastChild.textContent = check === null ? "Check now" : "Check again";
  }

  show();
  return { element, last: () => check, leave: () => clearTimeout(timer) };
}

function working({ fetched, expected }) {
  const of = expected === null ? "" : ` of about ${number(expected)}`;
  return h("p", {}, h("span", { class: "spinner" }), ` ${number(fetched)}${of} contacts read …`);
}

function stale({ stale: outdated, finishedAt }) {
  const when = finishedAt === null ? "" : moment(finishedAt);
  return h("p", { class: "quiet" }, outdated ? `${when}: of an earlier version of this draft. Check it again.` : when);
}

function report({ recipients, optedOut, withoutAddress, malformed, duplicates, estimatedSeconds, findings }) {
  const left = [
    [optedOut, "opted out"],
    [withoutAddress, "without an address"],
    [malformed, "with an address no mail can go to"],
    [duplicates, "with the address of another"],
  ].filter(([many]) => many > 0);
  const notes = findings.filter(({ severity }) => severity === "note");
  const grave = findings.filter(({ severity }) => severity !== "note");
  return [
    h(
      "p",
      {},
      h("b", {}, people(recipients)),
      " would get it",
      estimatedSeconds !== null && `, in about ${duration(estimatedSeconds)}`,
      left.length > 0 && h("span", { class: "quiet" }, `; left out: ${left.map(([many, why]) => `${number(many)} ${why}`).join(", ")}`),
      ".",
    ),
    grave.length === 0 ? h("p", { class: "good-word" }, "Nothing was found against it.") : h("ul", { class: "findings" }, grave.map(finding)),
    notes.length > 0 && h("details", {}, h("summary", {}, count(notes.length, "note", "notes")), h("ul", { class: "findings" }, notes.map(finding))),
  ];
}

function finding({ severity, message, place, line }) {
  const [word, tone] = SEVERITIES[severity] ?? [severity, ""];
  const where = line === null ? place : `${place}, line ${line}`;
  return h("li", {}, h("span", { class: `badge ${tone}` }, word), h("span", {}, message, h("small", { class: "quiet" }, where)));
}
