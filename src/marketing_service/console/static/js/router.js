/** Which screen an address is, and the way from one to the next; whoever leaves something unsaved is asked first. */

import { ask, failure, loading } from "./components.js";
import { h, put } from "./dom.js";

const PREFIX = "/marketing";

let routes = [];
let main = null;
let shown = { element: null };
let run = 0;
let place = 0;
let ignored = false;
let afterwards = () => {};

/**
 * `table`: pairs of a pattern and a screen, a function of the pattern's groups and the query that returns, or promises,
 * `{title, element, leave?, unsaved?}`. `then` is called after each change of screen.
 */
export function start(table, element, then) {
  routes = table;
  main = element;
  afterwards = then;
  place = history.state?.place ?? 0;
  history.replaceState({ place }, "");
  history.scrollRestoration = "manual";
  addEventListener("popstate", moved);
  addEventListener("beforeunload", (event) => {
    if (shown.unsaved?.()) event.preventDefault();
  });
  document.addEventListener("click", followed);
  return show({ first: true });
}

/** Goes to another screen. `path` is what follows /marketing. */
export async function go(path, { replace = false, force = false } = {}) {
  if (!force && !(await mayLeave())) return;
  if (replace) history.replaceState({ place }, "", PREFIX + path);
  else {
    place += 1;
    history.pushState({ place }, "", PREFIX + path);
  }
  await show();
}

/** Writes the screen's own state into the address, and stays. */
export function note(query) {
  const text = query.toString();
  history.replaceState({ place }, "", location.pathname + (text === "" ? "" : `?${text}`));
}

/** The address of a screen. */
export const to = (path) => PREFIX + path;

async function mayLeave() {
  if (!shown.unsaved?.()) return true;
  return ask({
    title: "Leave without saving?",
    content: h("p", {}, "What you have changed here has not been saved."),
    confirm: "Discard the changes",
    tone: "danger",
    refuse: "Stay here",
  });
}

/** Back or forward: the address has changed already, and is put back while the person is asked. */
async function moved(event) {
  const target = event.state?.place ?? 0;
  if (ignored) {
    ignored = false;
    return;
  }
  if (shown.unsaved?.()) {
    const steps = target - place;
    ignored = true;
    history.go(-steps);
    if (await mayLeave()) {
      shown.unsaved = undefined;
      history.go(steps);
    }
    return;
  }
  place = target;
  await show();
}

/** A click on a link to another screen of the console. */
function followed(event) {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (link === null || link === undefined || !plain || event.defaultPrevented) return;
  if (link.target !== "" || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.getAttribute("href").startsWith("#")) return;
  if (link.pathname !== PREFIX && !link.pathname.startsWith(`${PREFIX}/`)) return;
  event.preventDefault();
  go(link.pathname.slice(PREFIX.length) + link.search);
}

async function show({ first = false } = {}) {
  run += 1;
  const mine = run;
  shown.leave?.();
  shown = { element: null };
  const path = location.pathname.slice(PREFIX.length) || "/";
  const [open, groups] = find(path);
  const waiting = setTimeout(() => mine === run && put(main, loading()), 150);
  try {
    const screen = await open(groups, new URLSearchParams(location.search));
    if (mine !== run) {
      screen.leave?.();
      return;
    }
    shown = screen;
    put(main, screen.element);
    document.title = `${screen.title} – Marketing`;
  } catch (error) {
    if (mine !== run) return;
    put(main, failure(error, () => show()));
    document.title = "Marketing";
  } finally {
    clearTimeout(waiting);
  }
  afterwards(path);
  if (first) return;
  // Whoever does not see that the screen has changed is taken to its heading, or to where they were on it before.
  const before = main.querySelector("[data-focus]");
  (before ?? main.querySelector("h1") ?? main).focus({ preventScroll: true });
  if (before === null) scrollTo(0, 0);
  else before.scrollIntoView({ block: "center" });
}

function find(path) {
  for (const [pattern, open] of routes) {
    const found = pattern.exec(path);
    if (found !== null) return [open, found.slice(1)];
  }
  return [nowhere, []];
}

function nowhere() {
  const back = h("a", { class: "button", href: to("") }, "All campaigns");
  const text = h("p", {}, "There is no page at this address.");
  return { title: "Not found", element: h("section", { class: "message" }, h("h1", { tabindex: "-1" }, "Not found"), text, back) };
}
