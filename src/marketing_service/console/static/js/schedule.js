/** The schedule of a draft: its time as text, the fields that set it, and the notices about it. */

import { h, uniqueId } from "./dom.js";
import { apiNamesAsLabels, field } from "./fields.js";
import { timeIn } from "./format.js";
import { badge, button, notice } from "./components.js";

const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?/g;

export const isScheduled = ({ status, scheduledAt }) => status === "DRAFT" && scheduledAt !== null;

/** Whether the time of a scheduled draft has come: a worker launches it within seconds. */
export const isDue = (campaign) => isScheduled(campaign) && Date.parse(campaign.scheduledAt) <= Date.now();

const ownZone = () => new Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The time zone in which a schedule is shown: its own, or that of the browser if the browser does not know it. */
function zoneOf({ scheduledTimeZone }) {
  return scheduledTimeZone !== null && isKnown(scheduledTimeZone) ? scheduledTimeZone : ownZone();
}

function isKnown(zone) {
  try {
    return Boolean(new Intl.DateTimeFormat("en", { timeZone: zone }));
  } catch {
    return false;
  }
}

/** `28 Mar 2027, 09:00 (Europe/London)`. */
export function scheduleText(campaign) {
  return textIn(campaign.scheduledAt, zoneOf(campaign));
}

const textIn = (time, zone) => `${timeIn(time, zone)} (${zone})`;

/** The time of the schedule in the browser's time zone. Null if its clocks show the same. */
function ownTimeText(campaign) {
  const { scheduledAt } = campaign;
  const own = ownZone();
  return timeIn(scheduledAt, own) === timeIn(scheduledAt, zoneOf(campaign)) ? null : textIn(scheduledAt, own);
}

/** The fields of a schedule: `{fields, element, value()}`. They start with the schedule of the draft, or tomorrow at 9. */
export function scheduleFields(campaign) {
  const zones = h("datalist", { id: uniqueId("zones") }, ["UTC", ...Intl.supportedValuesOf("timeZone")].map((value) => h("option", { value })));
  const at = field("at", "Date and time", {
    // A year with more than four digits would take the digits of the hour.
    type: "datetime-local", required: true, max: "9999-12-31T23:59",
    value: isScheduled(campaign) ? localTime(new Date(campaign.scheduledAt), zoneOf(campaign)) : tomorrowAtNine(),
  });
  const timeZone = field("timeZone", "Time zone", {
    required: true, list: zones.id, autocomplete: "off", spellcheck: "false",
    value: isScheduled(campaign) ? zoneOf(campaign) : ownZone(),
    hint: "Type a city to find its time zone, for example London.",
  });
  at.messages = { type: "Enter a date and a time." };
  at.sentence = (message) => withReadableTimes(`This time ${message}`, timeZone.input.value.trim());
  timeZone.sentence = (message) => `This ${message}`;
  return {
    fields: [at, timeZone],
    element: h("div", { class: "fields" }, at.element, timeZone.element, zones),
    value: () => ({ at: at.input.value, timeZone: timeZone.input.value.trim() || null }),
  };
}

/** What the clocks of the zone show, as the value of a field. Swedish writes times almost as ISO 8601 does. */
function localTime(time, zone) {
  return new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "short", timeZone: zone }).format(time).replace(" ", "T");
}

function tomorrowAtNine() {
  const now = new Date();
  return localTime(new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1, 9), ownZone());
}

/** Replaces the times in a message of the API: those with an offset are shown in the zone, local times stay as they are. */
function withReadableTimes(message, zone) {
  return message.replace(TIME, (time, seconds, fraction, offset) =>
    offset === undefined ? timeIn(`${time}Z`, "UTC") : textIn(time, isKnown(zone) ? zone : ownZone()),
  );
}

/** The state of a campaign as a coloured label. A draft that is scheduled, or whose schedule failed, says so. */
export function campaignBadge(campaign, note) {
  if (isScheduled(campaign)) return h("span", { class: "badge scheduled" }, "Scheduled");
  return badge(campaign.status, campaign.status === "DRAFT" && campaign.scheduleProblem !== null ? "not launched" : note);
}

/** When the draft is launched, or why it was not. Null for other campaigns. */
export function scheduleNotice(campaign, { change, remove }) {
  if (campaign.status !== "DRAFT") return null;
  if (isScheduled(campaign)) {
    const own = ownTimeText(campaign);
    const what = [
      h("b", {}, `Scheduled for ${scheduleText(campaign)}.`),
      h("p", { class: "quiet" }, own === null ? "" : `In your time zone: ${own}. `, "Until then you can edit the draft."),
    ];
    return withActions(notice(what), button("Change", change), button("Remove schedule", remove));
  }
  if (campaign.scheduleProblem === null) return null;
  const { code, message } = campaign.scheduleProblem;
  const what = [
    h("b", {}, "The scheduled launch did not happen. Nothing was sent."),
    h("p", {}, apiNamesAsLabels(message)),
    code === "REFUSED" && h("p", {}, "Correct the draft, then schedule it again or send it now."),
  ].filter(Boolean);
  return withActions(notice(what, { tone: "danger" }), button("Schedule again", change), button("Dismiss", remove));
}

function withActions(element, ...buttons) {
  element.append(h("div", { class: "actions" }, buttons));
  return element;
}
