/** The API, the console's only back end: requests with the token, answers as objects, problems as errors. */

import { accessToken, refuse } from "./session.js";

const BASE = "/api/marketing";

/** What the API refused, as its problem says (RFC 9457). */
export class Problem extends Error {
  constructor(status, { type = "", title = "", detail = "", errors = [], requestId = "" }) {
    super(detail || title || `The API answered ${status}.`);
    this.status = status;
    this.type = type;
    this.title = title;
    this.errors = errors;
    this.requestId = requestId;
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("The service does not answer. It may be starting again, or the network may be down.");
  }
}

/**
 * The answer to a request: JSON as an object, an empty one as null, everything else as a Blob.
 * Throws Problem, Unreachable, and what `signal` aborts with.
 */
async function request(method, path, { query, body, headers = {}, version, once = false, signal } = {}) {
  const sent = { ...headers };
  if (version !== undefined) sent["if-match"] = `"${version}"`;
  // The same key for the repetition after a new log-in: what was done the first time is not done twice.
  if (once) sent["idempotency-key"] = randomKey();
  if (body !== undefined && !(body instanceof Blob)) sent["content-type"] = "application/json";
  const content = body === undefined || body instanceof Blob ? body : JSON.stringify(body);
  for (let attempt = 0; ; attempt += 1) {
    const token = await accessToken();
    const answer = await exchange(path + queryOf(query), {
      method,
      headers: { ...sent, authorization: `Bearer ${token}` },
      body: content,
      signal,
    });
    if (answer.status === 401 && attempt === 0) {
      refuse(token);
      continue;
    }
    return read(answer);
  }
}

async function exchange(path, options) {
  try {
    return await fetch(BASE + path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable();
  }
}

async function read(answer) {
  const type = answer.headers.get("content-type") ?? "";
  if (!answer.ok) {
    const problem = type.includes("json") ? await answer.json().catch(() => ({})) : {};
    throw new Problem(answer.status, problem);
  }
  if (answer.status === 204) return null;
  return type.includes("json") ? answer.json() : answer.blob();
}

function queryOf(values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const item of [value].flat()) if (item !== null && item !== undefined && item !== "") query.append(name, item);
  }
  return query.size === 0 ? "" : `?${query}`;
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What `asking` brings; null where this installation, or this campaign, has no such thing. */
export async function orNull(asking) {
  try {
    return await asking;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

const get = (path, query, signal) => request("GET", path, { query, signal });
const one = (id) => `/campaigns/${encodeURIComponent(id)}`;

export const overview = () => get("/stats");
export const statuses = () => get("/contact-statuses");
export const audience = ({ type, statuses: chosen }, signal) => get("/audience", { type, statuses: chosen }, signal);

export const campaigns = (query, signal) => get("/campaigns", query, signal);
export const campaign = (id) => get(one(id));
export const create = (body) => request("POST", "/campaigns", { body, once: true });
export const change = (id, version, body) => request("PATCH", one(id), { body, version });
export const remove = (id, version) => request("DELETE", one(id), { version });
export const duplicate = (id) => request("POST", `${one(id)}/duplicate`, { once: true });
export const launch = (id, version, body) => request("POST", `${one(id)}/launch`, { body, version, once: true });
export const move = (id, step) => request("POST", `${one(id)}/${step}`);
export const test = (id, to) => request("POST", `${one(id)}/test`, { body: { to }, once: true });

export const preview = (id, contactId) => get(`${one(id)}/preview`, { contactId });
export const previewUnsaved = (body, signal) => request("POST", "/preview", { body, signal });
export const check = (id) => request("POST", `${one(id)}/check`);
export const lastCheck = (id) => orNull(get(`${one(id)}/check`));

export const progress = (id) => get(`${one(id)}/stats`);
export const timeline = (id) => orNull(get(`${one(id)}/timeline`, { buckets: 60 }));
export const links = (id) => orNull(get(`${one(id)}/links`));

export const sends = (id, query, signal) => get(`${one(id)}/sends`, query, signal);
export const sendsCsv = (id, query) => get(`${one(id)}/sends.csv`, query);
export const resend = (id, send) => request("POST", `${one(id)}/sends/${send}/resend`, { once: true });

export const suppressions = (query, signal) => get("/suppressions", query, signal);
export const suppress = (body) => request("POST", "/suppressions", { body });
export const unsuppress = (id) => request("DELETE", `/suppressions/${encodeURIComponent(id)}`);
export const suppressionsCsv = (query) => get("/suppressions.csv", query);
export const suppressCsv = (file) =>
  request("POST", "/suppressions.csv", { body: new Blob([file]), headers: { "content-type": "text/csv" } });
