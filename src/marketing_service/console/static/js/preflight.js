/** The preflight check of a draft: a dry run of the launch for the whole audience, and its findings. */

import * as api from "./api.js";
import { h, setContent } from "./dom.js";
import { count, duration, dateTime, number, people } from "./format.js";
import { withBusyButton, button, card, announce } from "./components.js";

const POLL_MILLISECONDS = 700;
const SEVERITIES = { error: ["Error", "danger"], warning: ["Warning", "warning"], note: ["Note", ""] };

/** The number of errors that the check has found. 0 if the check is for an earlier version of the draft. */
export function errorsOf(check) {
  return check?.report && !check.stale ? check.report.findings.filter(({ severity }) => severity === "error").length : 0;
}

/** `{element, last(), leave()}`. `first` is the last check, or null. */
export function checkCard(id, first) {
  let check = first;
  let timer = 0;
  const body = h("div", {});
  const start = button("Check now", startCheck, { icon: "check" });
  const element = card("Check before launch", body, { actions: start });

  async function startCheck() {
    const started = await withBusyButton(start, () => api.check(id));
    if (started === null) return;
    check = started;
    show();
  }

  async function poll() {
    try {
      check = await api.lastCheck(id);
    } catch {
      // The check continues on the server. The next poll tries again.
    }
    show();
    if (check?.status === "DONE") announce(`Check finished: ${count(check.report.findings.length, "finding", "findings")}.`);
  }

  function show() {
    clearTimeout(timer);
    if (check === null) setContent(body, h("p", { class: "quiet" }, "Checks the message for every contact, as a launch would, without sending anything."));
    else if (check.status === "DONE") setContent(body, checkTime(check), report(check.report));
    else if (check.status === "FAILED") setContent(body, checkTime(check), h("p", {}, `The check failed. ${check.failure}`));
    else {
      setContent(body, runningText(check.progress));
      timer = setTimeout(poll, POLL_MILLISECONDS);
    }
    start.lastChild.textContent = check === null ? "Check now" : "Check again";
  }

  show();
  return { element, last: () => check, leave: () => clearTimeout(timer) };
}

function runningText({ fetched, expected }) {
  const of = expected === null ? "" : ` of about ${number(expected)}`;
  return h("p", {}, h("span", { class: "spinner" }), ` ${number(fetched)}${of} contacts read …`);
}

function checkTime({ stale: outdated, finishedAt }) {
  const when = finishedAt === null ? "" : dateTime(finishedAt);
  return h("p", { class: "quiet" }, outdated ? `${when}. This check is for an earlier version of the draft. Check again.` : when);
}

function report({ recipients, optedOut, withoutAddress, malformed, duplicates, estimatedSeconds, findings }) {
  const excluded = [
    [optedOut, "opted out"],
    [withoutAddress, "without an address"],
    [malformed, "with an invalid address"],
    [duplicates, "with a duplicate address"],
  ].filter(([many]) => many > 0);
  const notes = findings.filter(({ severity }) => severity === "note");
  const problems = findings.filter(({ severity }) => severity !== "note");
  return [
    h(
      "p",
      {},
      h("b", {}, people(recipients)),
      " would receive it",
      estimatedSeconds !== null && `, in about ${duration(estimatedSeconds)}`,
      excluded.length > 0 && h("span", { class: "quiet" }, `. Left out: ${excluded.map(([many, why]) => `${number(many)} ${why}`).join(", ")}`),
      ".",
    ),
    problems.length === 0 ? h("p", { class: "good-word" }, "No problems found.") : h("ul", { class: "findings" }, problems.map(finding)),
    notes.length > 0 && h("details", {}, h("summary", {}, count(notes.length, "note", "notes")), h("ul", { class: "findings" }, notes.map(finding))),
  ];
}

function finding({ severity, message, place, line }) {
  const [word, tone] = SEVERITIES[severity] ?? [severity, ""];
  const where = line === null ? place : `${place}, line ${line}`;
  return h("li", {}, h("span", { class: `badge ${tone}` }, word), h("span", {}, message, h("small", { class: "quiet" }, where)));
}
