/** Creates elements. The console never parses text as HTML, and its Content Security Policy forbids that. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Creates an HTML element. `properties` are attributes. `on…` adds an event listener. `css` sets style properties (the
 * Content Security Policy does not allow a style attribute). A property that is null, undefined or false is left out.
 */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Creates an SVG element. */
export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "css") Object.entries(value).forEach(([key, set]) => element.style.setProperty(key, set));
    else if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...present(children));
  return element;
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replaces the content of the element. */
export function setContent(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** Replaces the content of the element. The focus, and which `details` are open, stay the same. */
export function redraw(element, ...children) {
  const focusable = () => [...element.querySelectorAll("a, button, summary, [tabindex]")];
  const index = focusable().indexOf(document.activeElement);
  const open = [...element.querySelectorAll("details")].map((one) => one.open);
  setContent(element, ...children);
  element.querySelectorAll("details").forEach((one, index) => (one.open = open[index] ?? false));
  focusable()[index]?.focus({ preventScroll: true });
}

let lastId = 0;

/** An id that is unique on the page. */
export function uniqueId(stem) {
  lastId += 1;
  return `${stem}-${lastId}`;
}

/** Returns a function that calls `action` after it has not been called for the given number of milliseconds. */
export function debounce(action, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}

const ICONS = {
  alert: "M12 4.5 3 20h18zM12 10.5v4.5M12 17.6v.2",
  arrow: "M15 5l-7 7 7 7",
  check: "M4.5 12.5l5 5 10-11",
  copy: "M8.5 8.5h11v11h-11zM15.5 8.5v-4h-11v11h4",
  download: "M12 4v11M7 10.5l5 5 5-5M4.5 19.5h15",
  mail: "M3.5 6h17v12h-17zM4 6.5l8 7 8-7",
  pause: "M8.5 5v14M15.5 5v14",
  pencil: "M4.5 19.5l1-4.5L16 4.5l3.5 3.5L9 18.5zM13.5 7l3.5 3.5",
  play: "M7.5 5v14l11-7z",
  plus: "M12 5v14M5 12h14",
  refresh: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3M17.5 3v4h-4",
  search: "M10.5 4.5a6 6 0 1 1 0 12 6 6 0 0 1 0-12zM15 15l5 5",
  send: "M4 12l16-7.5-5 15-3.5-6z M11.5 13.5l8-8.5",
  stop: "M6.5 6.5h11v11h-11z",
  trash: "M5 7h14M9.5 7V4.5h5V7M7 7l1 12.5h8L17 7",
  upload: "M12 15.5V4.5M7 9l5-5 5 5M4.5 19.5h15",
};

/** An icon next to a label. Screen readers skip it. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}
