/** Starts the console: the log-in, the bar at the top, the screens. */

import { h, icon, setContent } from "./dom.js";
import { loginDialog, loginScreen, notAuthorizedPage } from "./login.js";
import { errorMessage } from "./components.js";
import { start, to } from "./router.js";
import { accessToken, configure, logOut, currentUser } from "./session.js";

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
let started = false;

// Before the first screen the log-in is a whole page. Later it is a dialog above the current screen.
const showLogin = () => (started ? loginDialog() : loginScreen(main));

async function startConsole() {
  try {
    await configure(showLogin);
    await accessToken();
  } catch (error) {
    setContent(main, errorMessage(error, startConsole));
    return;
  }
  started = true;
  if (!currentUser().mayWrite) {
    setContent(main, notAuthorizedPage());
    return;
  }
  bar.hidden = false;
  await start(SCREENS, main, showBar);
}

function showBar(path) {
  const { name, organisation } = currentUser();
  setContent(
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

// Following the link would make the router load a screen, so the click only moves the focus.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

startConsole();
