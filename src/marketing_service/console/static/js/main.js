/** Starts the console: who is there, the bar at the top, the screens. */

import { h, icon, put } from "./dom.js";
import { loginDialog, loginScreen, notForReaders } from "./login.js";
import { failure } from "./components.js";
import { start, to } from "./router.js";
import { accessToken, configure, logOut, person } from "./session.js";

import { listScreen } from "./list.js";
import { detailScreen } from "./detail.js";
import { editScreen, newScreen } from "./form.js";
import { logScreen } from "./log.js";
import { suppressionsScreen } from "./suppressions.js";

const ID = "([0-9a-fA-F-]{36})";
const SCREENS = [
  [/^\/$/, listScreen],
  [/^\/campaigns\/new$/, newScreen],
  [new RegExp(`^/campaigns/${ID}$`), detailScreen],
  [new RegExp(`^/campaigns/${ID}/edit$`), editScreen],
  [new RegExp(`^/campaigns/${ID}/log$`), logScreen],
  [/^\/suppressions$/, suppressionsScreen],
];
const NAVIGATION = [
  ["", "Campaigns", /^\/($|campaigns)/],
  ["/suppressions", "Suppressions", /^\/suppressions/],
];

const main = document.getElementById("main");
const bar = document.querySelector("header.bar");
let begun = false;

// Before the first screen a log-in fills the page; later it stands above whatever is being worked on.
const askPerson = () => (begun ? loginDialog() : loginScreen(main));

async function begin() {
  try {
    await configure(askPerson);
    await accessToken();
  } catch (error) {
    put(main, failure(error, begin));
    return;
  }
  begun = true;
  if (!person().mayWrite) {
    put(main, notForReaders());
    return;
  }
  bar.hidden = false;
  await start(SCREENS, main, showBar);
}

function showBar(path) {
  const { name, organisation } = person();
  put(
    bar,
    h("a", { class: "brand", href: to("") }, h("span", { class: "mark" }, icon("mail")), "Marketing"),
    h(
      "nav",
      { "aria-label": "Main" },
      NAVIGATION.map(([where, label, here]) =>
        h("a", { href: to(where), "aria-current": here.test(path) && "page" }, label),
      ),
    ),
    h(
      "div",
      { class: "person" },
      h("span", {}, h("span", { class: "name" }, name), h("span", { class: "quiet" }, organisation)),
      h("button", { class: "button", type: "button", onclick: logOut }, "Log out"),
    ),
  );
}

// Its address alone would be a change of screen.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

begin();
