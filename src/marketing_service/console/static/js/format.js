/** Formats numbers, times and states as text. */

const NUMBER = new Intl.NumberFormat("en");
const DATE_TIME = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const DATE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const THIN = "\u202f";

export const number = (value) => NUMBER.format(value);

/** `3 people`, `1 person`. */
export const count = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;

export const people = (value) => count(value, "person", "people");

/** A fraction as a whole percentage. It shows 0 % and 100 % only for exactly these values. */
export function percent(fraction) {
  const whole = Math.round(fraction * 100);
  if (whole === 0 && fraction > 0) return `<${THIN}1${THIN}%`;
  if (whole === 100 && fraction < 1) return `>${THIN}99${THIN}%`;
  return `${whole}${THIN}%`;
}

export const dateTime = (time) => DATE_TIME.format(new Date(time));
/** A time as the clocks of a time zone show it. */
export const timeIn = (time, timeZone) =>
  new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone }).format(new Date(time));

export const date = (time) => DATE.format(new Date(time));

/** A number of seconds in one unit, which is precise enough for an estimate. */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return count(Math.round(seconds), "second", "seconds");
  if (seconds < 5400) return count(Math.round(seconds / 60), "minute", "minutes");
  return count(Math.round(seconds / 3600), "hour", "hours");
}

/** The languages of the footer, each in its own language. */
export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español" };

export const CAMPAIGN_STATUS = { DRAFT: "Draft", SENDING: "Sending", SENT: "Sent", FAILED: "Failed" };

export const SEND_STATUS = {
  QUEUED: "Queued",
  SENDING: "Sending",
  DEFERRED: "Deferred",
  DELIVERED: "Delivered",
  FAILED: "Failed",
  UNCONFIRMED: "Unconfirmed",
  SKIPPED: "Skipped",
};

const REASONS = {
  OPTED_OUT: "opted out",
  SUPPRESSED: "address is suppressed",
  DUPLICATE: "same address as another contact",
  CANCELLED: "campaign cancelled",
  MALFORMED_ADDRESS: "address is not valid",
  TEMPLATE_TOO_COSTLY: "template too costly for this contact",
  REJECTED: "rejected by the relay",
  DEFERRED_TOO_OFTEN: "deferred too often",
  BOUNCED: "bounced",
  BOUNCED_HARD: "hard bounce",
  BOUNCED_SOFT: "soft bounce",
  HARD_BOUNCE: "Hard bounce",
  SOFT_BOUNCES: "Soft bounces on several days",
  MANUAL: "Added manually",
  REPORT: "Delivery report",
  API: "Console or API",
  CSV: "CSV file",
};

/** A reason code as text. An unknown code is shown in lower case. */
export const reasonText = (code) => REASONS[code] ?? code.toLowerCase().replaceAll("_", " ");

const PAUSES = {
  USER: "Paused by a user. No more emails are sent until you resume.",
  RELAY_DOWN: "Paused because the relay is not responding. Sending resumes automatically when the relay is back.",
  RELAY_BUSY: "Paused because the relay has accepted no email for several minutes. Sending resumes automatically.",
  RELAY_QUOTA: "Paused because the quota of your account at the relay is used up. Sending resumes automatically when the relay accepts emails again.",
  RELAY_REFUSES_SENDER: "Paused because the relay refuses the sender address. The service tries again automatically.",
  RELAY_LOGIN_REFUSED: "Paused because the relay refuses the log-in of this service. Ask your administrator to check it. Sending resumes automatically.",
  MESSAGE_TOO_LARGE: "Paused because the message is larger than the relay accepts. Cancel this campaign, duplicate it and make the message smaller.",
};

export const pauseText = (code) => PAUSES[code] ?? `Paused: ${reasonText(code ?? "")}.`;

/** An audience as text, with the CRM's labels for the statuses where they are known. */
export function audienceText({ type, statuses }, labels = new Map()) {
  if (type === "ALL") return "All contacts";
  return `Contacts by status: ${statuses.map((value) => labels.get(value) ?? value).join(", ")}`;
}
