/** Shows the screen for a URL and navigates between screens. Asks before unsaved changes are lost. */

import { confirmDialog, errorMessage, loading } from "./components.js";
import { h, setContent } from "./dom.js";
import { CONSOLE } from "./paths.js";

let routes = [];
let main = null;
let current = { element: null };
let run = 0;
let position = 0;
let ignoreNextPop = false;
let onScreenShown = () => {};

/**
 * `table`: pairs of a pattern and a screen. A screen is a function of the pattern's groups and the query. It returns
 * `{title, element, leave?, unsaved?}` or a promise of it. `then` is called after each change of screen.
 */
export function start(table, element, then) {
  routes = table;
  main = element;
  onScreenShown = then;
  position = history.state?.position ?? 0;
  history.replaceState({ position }, "");
  history.scrollRestoration = "manual";
  addEventListener("popstate", onPopState);
  addEventListener("beforeunload", (event) => {
    if (current.unsaved?.()) event.preventDefault();
  });
  document.addEventListener("click", onLinkClick);
  return show({ first: true });
}

/** Goes to another screen. `path` is the part of the URL after the console's path. */
export async function go(path, { replace = false, force = false } = {}) {
  if (!force && !(await confirmLeave())) return;
  if (replace) history.replaceState({ position }, "", CONSOLE + path);
  else {
    position += 1;
    history.pushState({ position }, "", CONSOLE + path);
  }
  await show();
}

/** Writes the filters of the current screen into the URL, without navigating. */
export function setQuery(query) {
  const text = query.toString();
  history.replaceState({ position }, "", location.pathname + (text === "" ? "" : `?${text}`));
}

/** The URL of a screen. */
export const to = (path) => CONSOLE + path;

async function confirmLeave() {
  if (!current.unsaved?.()) return true;
  return confirmDialog({
    title: "Leave without saving?",
    content: h("p", {}, "Your changes are not saved."),
    confirmLabel: "Discard changes",
    tone: "danger",
    cancelLabel: "Keep editing",
  });
}

/** Back or forward. The URL has already changed. It is restored while the user is asked about unsaved changes. */
async function onPopState(event) {
  const target = event.state?.position ?? 0;
  if (ignoreNextPop) {
    ignoreNextPop = false;
    return;
  }
  if (current.unsaved?.()) {
    const delta = target - position;
    ignoreNextPop = true;
    history.go(-delta);
    if (await confirmLeave()) {
      current.unsaved = undefined;
      history.go(delta);
    }
    return;
  }
  position = target;
  await show();
}

/** Handles a click on a link to another screen of the console. */
function onLinkClick(event) {
  const link = event.target.closest?.("a[href]");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (link === null || link === undefined || !plain || event.defaultPrevented) return;
  if (link.target !== "" || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.getAttribute("href").startsWith("#")) return;
  if (link.pathname !== CONSOLE && !link.pathname.startsWith(`${CONSOLE}/`)) return;
  event.preventDefault();
  go(link.pathname.slice(CONSOLE.length) + link.search);
}

async function show({ first = false } = {}) {
  run += 1;
  const thisRun = run;
  current.leave?.();
  current = { element: null };
  const path = location.pathname.slice(CONSOLE.length) || "/";
  const [open, groups] = matchRoute(path);
  const loadingTimer = setTimeout(() => thisRun === run && setContent(main, loading()), 150);
  try {
    const screen = await open(groups, new URLSearchParams(location.search));
    if (thisRun !== run) {
      screen.leave?.();
      return;
    }
    current = screen;
    setContent(main, screen.element);
    document.title = `${screen.title} – Marketing`;
  } catch (error) {
    if (thisRun !== run) return;
    setContent(main, errorMessage(error, () => show()));
    document.title = "Marketing";
  } finally {
    clearTimeout(loadingTimer);
  }
  onScreenShown(path);
  if (first) return;
  // For screen readers and keyboard users, the focus goes to the heading, or to the last place on this screen.
  const before = main.querySelector("[data-focus]");
  (before ?? main.querySelector("h1") ?? main).focus({ preventScroll: true });
  if (before === null) scrollTo(0, 0);
  else before.scrollIntoView({ block: "center" });
}

function matchRoute(path) {
  for (const [pattern, open] of routes) {
    const found = pattern.exec(path);
    if (found !== null) return [open, found.slice(1)];
  }
  return [notFoundScreen, []];
}

function notFoundScreen() {
  const back = h("a", { class: "button", href: to("") }, "All campaigns");
  const text = h("p", {}, "There is no page at this address.");
  return { title: "Not found", element: h("section", { class: "message" }, h("h1", { tabindex: "-1" }, "Not found"), text, back) };
}
