/** Keeps the screen of a campaign up to date while it is sent: with the event stream, or without it by polling. */

import * as api from "./api.js";

const POLL_MILLISECONDS = 2000;
/** The stream has only the stats. What else the screen shows is loaded so often. */
const REFRESH_MILLISECONDS = 10_000;
/** A proxy that buffers the response lets no event through. The first event comes at once otherwise. */
const FIRST_EVENT_MILLISECONDS = 5000;
/** The API sends something at least every 15 seconds. */
const SILENCE_MILLISECONDS = 40_000;
/** After the stream has failed, it is tried again so much later. */
const RETRY_MILLISECONDS = 30_000;

/**
 * Calls `onStats` with each snapshot of the stats, and `refresh` when everything else is to be loaded again. A page that
 * nobody sees gets neither, and keeps no connection: a browser has six for all tabs of a site. Returns a function that
 * ends this.
 */
export function follow(id, { onStats, refresh }) {
  const end = new AbortController();
  run(id, { onStats, refresh }, end.signal);
  return () => end.abort();
}

async function run(id, screen, ended) {
  let nextTry = 0;
  while (!ended.aborted) {
    if (document.hidden) {
      await visibilityChange(ended);
      continue;
    }
    if (Date.now() >= nextTry) {
      const failed = await stream(id, screen, ended);
      if (failed) nextTry = Date.now() + RETRY_MILLISECONDS;
      if (document.hidden) continue;
    }
    await pause(POLL_MILLISECONDS, ended);
    if (!ended.aborted && !document.hidden) await screen.refresh();
  }
}

/** Reads the stream until it ends. Returns whether it failed. */
async function stream(id, { onStats, refresh }, ended) {
  const closing = new AbortController();
  const close = () => closing.abort();
  const closeIfHidden = () => document.hidden && close();
  let timer = setTimeout(close, FIRST_EVENT_MILLISECONDS);
  const refreshing = setInterval(refresh, REFRESH_MILLISECONDS);
  ended.addEventListener("abort", close);
  document.addEventListener("visibilitychange", closeIfHidden);
  try {
    for await (const event of api.campaignEvents(id, closing.signal)) {
      if (closing.signal.aborted) break;
      clearTimeout(timer);
      timer = setTimeout(close, SILENCE_MILLISECONDS);
      if (event?.name === "stats") onStats(event.data);
      if (event?.name === "done") {
        await refresh();
        return false;
      }
    }
  } catch {
    // Polling shows the error, if it lasts.
  } finally {
    clearTimeout(timer);
    clearInterval(refreshing);
    ended.removeEventListener("abort", close);
    document.removeEventListener("visibilitychange", closeIfHidden);
    close();
  }
  return !document.hidden;
}

function visibilityChange(ended) {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
    ended.addEventListener("abort", resolve, { once: true });
  });
}

function pause(milliseconds, ended) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    ended.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
