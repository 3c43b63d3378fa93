/** The client of the API: sends requests with the access token, returns objects, and throws problems as errors. */

import { API } from "./paths.js";
import { accessToken, rejectToken } from "./session.js";

/** A problem response of the API (RFC 9457). */
export class Problem extends Error {
  constructor(status, { type = "", title = "", detail = "", errors = [], requestId = "" }) {
    super(detail || title || `The request failed with status ${status}.`);
    this.status = status;
    this.type = type;
    this.title = title;
    this.errors = errors;
    this.requestId = requestId;
  }
}

/** The API could not be reached. */
export class Unreachable extends Error {
  constructor() {
    super("The service is not responding. Check your network connection, then try again.");
  }
}

/**
 * Sends a request. Returns a JSON response as an object, an empty one as null, events as their stream, and any other as
 * a Blob.
 * Throws Problem, Unreachable, or the abort error of `signal`.
 */
async function request(method, path, { query, body, headers = {}, version, idempotent = false, signal } = {}) {
  const sent = { ...headers };
  if (version !== undefined) sent["if-match"] = `"${version}"`;
  // A repetition after a new log-in uses the same key, so that the API does not do the action twice.
  if (idempotent) sent["idempotency-key"] = randomKey();
  if (body !== undefined && !(body instanceof Blob)) sent["content-type"] = "application/json";
  const content = body === undefined || body instanceof Blob ? body : JSON.stringify(body);
  for (let attempt = 0; ; attempt += 1) {
    const token = await accessToken();
    const response = await send(path + queryOf(query), {
      method,
      headers: { ...sent, authorization: `Bearer ${token}` },
      body: content,
      signal,
    });
    if (response.status === 401 && attempt === 0) {
      rejectToken(token);
      continue;
    }
    return parse(response);
  }
}

async function send(path, options) {
  try {
    return await fetch(API + path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable();
  }
}

async function parse(response) {
  const type = response.headers.get("content-type") ?? "";
  if (!response.ok) {
    const problem = type.includes("json") ? await response.json().catch(() => ({})) : {};
    throw new Problem(response.status, problem);
  }
  if (response.status === 204) return null;
  if (type.startsWith("text/event-stream")) return response.body;
  return type.includes("json") ? response.json() : response.blob();
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

/** Awaits `promise`. Returns null if the API responds with 404. */
export async function nullIfNotFound(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

const get = (path, query, signal) => request("GET", path, { query, signal });
const campaignPath = (id) => `/campaigns/${encodeURIComponent(id)}`;

export const overview = () => get("/stats");
export const statuses = () => get("/contact-statuses");
export const audience = ({ type, statuses: chosen }, signal) => get("/audience", { type, statuses: chosen }, signal);

export const campaigns = (query, signal) => get("/campaigns", query, signal);
export const campaign = (id) => get(campaignPath(id));
export const create = (body) => request("POST", "/campaigns", { body, idempotent: true });
export const update = (id, version, body) => request("PATCH", campaignPath(id), { body, version });
export const remove = (id, version) => request("DELETE", campaignPath(id), { version });
export const duplicate = (id) => request("POST", `${campaignPath(id)}/duplicate`, { idempotent: true });
export const launch = (id, version, body) => request("POST", `${campaignPath(id)}/launch`, { body, version, idempotent: true });
export const schedule = (id, version, body) => request("POST", `${campaignPath(id)}/schedule`, { body, version });
export const unschedule = (id, version) => request("DELETE", `${campaignPath(id)}/schedule`, { version });
export const changeState = (id, action) => request("POST", `${campaignPath(id)}/${action}`);
export const sendTest = (id, to) => request("POST", `${campaignPath(id)}/test`, { body: { to }, idempotent: true });

export const preview = (id, contactId) => get(`${campaignPath(id)}/preview`, { contactId });
export const previewUnsaved = (body, signal) => request("POST", "/preview", { body, signal });
export const check = (id) => request("POST", `${campaignPath(id)}/check`);
export const lastCheck = (id) => nullIfNotFound(get(`${campaignPath(id)}/check`));

export const stats = (id) => get(`${campaignPath(id)}/stats`);
/** The events of a campaign's progress: `{name, data}`, and null for a heartbeat. Throws what `request` throws. */
export async function* campaignEvents(id, signal) {
  const body = await get(`${campaignPath(id)}/events`, {}, signal);
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    yield* blocks.map(eventIn);
  }
}

function eventIn(block) {
  const fields = new Map(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  return fields.has("event") ? { name: fields.get("event"), data: JSON.parse(fields.get("data")) } : null;
}

export const timeline = (id) => nullIfNotFound(get(`${campaignPath(id)}/timeline`, { buckets: 60 }));
export const links = (id) => nullIfNotFound(get(`${campaignPath(id)}/links`));

export const sends = (id, query, signal) => get(`${campaignPath(id)}/sends`, query, signal);
export const sendsCsv = (id, query) => get(`${campaignPath(id)}/sends.csv`, query);
export const resend = (id, send) => request("POST", `${campaignPath(id)}/sends/${send}/resend`, { idempotent: true });

export const suppressions = (query, signal) => get("/suppressions", query, signal);
export const suppress = (body) => request("POST", "/suppressions", { body });
export const unsuppress = (id) => request("DELETE", `/suppressions/${encodeURIComponent(id)}`);
export const suppressionsCsv = (query) => get("/suppressions.csv", query);
export const suppressCsv = (file) =>
  request("POST", "/suppressions.csv", { body: new Blob([file]), headers: { "content-type": "text/csv" }, idempotent: true });
export const suppressionImports = (query) => get("/suppressions/imports", query);
export const suppressionImport = (id) => get(`/suppressions/imports/${encodeURIComponent(id)}`);
