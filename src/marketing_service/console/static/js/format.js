/** Figures, times and states in words. */

const NUMBER = new Intl.NumberFormat("en");
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const THIN = "\u202f";

export const number = (value) => NUMBER.format(value);

/** `3 people`, `1 person`. */
export const count = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;

export const people = (value) => count(value, "person", "people");

/** A fraction as whole percents, and never as 0 or 100 unless it is just that. */
export function percent(fraction) {
  const whole = Math.round(fraction * 100);
  if (whole === 0 && fraction > 0) return `<${THIN}1${THIN}%`;
  if (whole === 100 && fraction < 1) return `>${THIN}99${THIN}%`;
  return `${whole}${THIN}%`;
}

export const moment = (time) => MOMENT.format(new Date(time));
export const day = (time) => DAY.format(new Date(time));

/** How long so many seconds are, to one unit: about as precise as an estimate is. */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return count(Math.round(seconds), "second", "seconds");
  if (seconds < 5400) return count(Math.round(seconds / 60), "minute", "minutes");
  return count(Math.round(seconds / 3600), "hour", "hours");
}

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
  DUPLICATE: "address of another contact",
  CANCELLED: "campaign cancelled",
  MALFORMED_ADDRESS: "no mail can go to this address",
  REJECTED: "refused by the relay",
  DEFERRED_TOO_OFTEN: "put off too often",
  BOUNCED: "bounced",
  BOUNCED_HARD: "hard bounce",
  BOUNCED_SOFT: "soft bounce",
  HARD_BOUNCE: "Hard bounce",
  SOFT_BOUNCES: "Soft bounces in a row",
  MANUAL: "Added by hand",
  REPORT: "by a delivery report",
  API: "one by one",
  CSV: "out of a file",
};

/** A reason's code in words; one that is new here as it is, in small letters. */
export const reason = (code) => REASONS[code] ?? code.toLowerCase().replaceAll("_", " ");

const PAUSES = {
  USER: "Paused by a person. Nothing more is handed over until it is resumed.",
  RELAY_DOWN: "Held, because the relay does not answer. It goes on by itself as soon as the relay does.",
  RELAY_REFUSES_SENDER: "Held, because the relay refuses the sender. It is tried again by itself.",
};

export const pause = (code) => PAUSES[code] ?? `Paused: ${reason(code ?? "")}.`;

/** Whom an audience is, with the CRM's words for its statuses where they are known. */
export function audience({ type, statuses }, labels = new Map()) {
  if (type === "ALL") return "All contacts";
  return `Contacts by status: ${statuses.map((value) => labels.get(value) ?? value).join(", ")}`;
}
