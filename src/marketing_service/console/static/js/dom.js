/** Elements, made by calls: nothing in the console reads text as HTML, and its policy would not allow it. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `properties`: attributes by their names; `on…` are listeners, `css` sets single properties (a style
 * attribute is not allowed here), and null, undefined and false leave a property out.
 */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
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

/** Puts these in place of what is in the element. */
export function put(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/** The same under somebody's eyes: what was unfolded and what had the focus stay so. */
export function redraw(element, ...children) {
  const places = () => [...element.querySelectorAll("a, button, summary, [tabindex]")];
  const at = places().indexOf(document.activeElement);
  const open = [...element.querySelectorAll("details")].map((one) => one.open);
  put(element, ...children);
  element.querySelectorAll("details").forEach((one, place) => (one.open = open[place] ?? false));
  places()[at]?.focus({ preventScroll: true });
}

let made = 0;

/** An id nothing else on the page has. */
export function freshId(stem) {
  made += 1;
  return `${stem}-${made}`;
}

/** Calls `act` once nothing has called the returned function for so many milliseconds. */
export function settled(act, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), milliseconds);
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

/** A drawing beside a word; nobody needs to hear of it. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}
