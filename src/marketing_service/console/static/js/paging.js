/** A list by pages: every filter asks for it anew, "Show more" makes it longer, and focus goes to what has come. */

import { put } from "./dom.js";
import { busy, failure, mention, moreButton } from "./components.js";
import { note } from "./router.js";

export const PAGE = 50;

/**
 * Shows the first page, and what follows it as it is asked for.
 *
 * `only`: the filters by name, as the API and the address know them. `load`: gives a page for a query. `rows` and
 * `below`: the elements for the rows and for what follows them. `row`: makes one of them, with a link or a heading to
 * focus. `words`: what is listed, as in "No address" and "12 addresses". `empty`: what is said where there is nothing.
 */
export function paged({ first, only, load, rows, below, row, words: [one, many], empty }) {
  let page = first;
  let items = page.items;
  let asking = null;

  async function filter(change = {}) {
    Object.assign(only, change);
    note(new URLSearchParams(Object.entries(only).flatMap(([name, value]) => [value].flat().filter(Boolean).map((item) => [name, item]))));
    asking?.abort();
    asking = new AbortController();
    try {
      page = await load({ ...only, limit: PAGE }, asking.signal);
    } catch (error) {
      if (error.name !== "AbortError") put(below, failure(error, () => filter()));
      return;
    }
    items = page.items;
    show();
    mention(items.length === 0 ? `No ${one}` : `${items.length}${page.nextCursor === null ? "" : " or more"} ${many}`);
  }

  async function more(event) {
    const next = await busy(event.currentTarget, () => load({ ...only, limit: PAGE, cursor: page.nextCursor }));
    if (next === null) return;
    page = next;
    items = [...items, ...page.items];
    const added = page.items.map(row);
    rows.append(...added);
    showBelow();
    added[0]?.querySelector("a, th").focus({ preventScroll: true });
    mention(`${items.length} ${many} are shown`);
  }

  function show() {
    put(rows, items.map(row));
    const table = rows.closest("table");
    if (table !== null) table.hidden = items.length === 0;
    showBelow();
  }

  function showBelow() {
    put(below, items.length === 0 ? empty() : page.nextCursor !== null && moreButton(more));
  }

  show();
  return {
    filter,
    /** What is shown now. */
    items: () => items,
    /** Puts another state of an item in its place; gives its row. */
    replace(id, item) {
      const at = items.findIndex((known) => known.id === id);
      if (at < 0) return null;
      items[at] = item;
      const made = row(item);
      rows.children[at].replaceWith(made);
      return made;
    },
    stop: () => asking?.abort(),
  };
}
