/** The log-in, as a page or above one; and what somebody sees who may not use this page. */

import { freshId, h, icon, put } from "./dom.js";
import { button, notice } from "./components.js";
import { logIn, logOut, person, remembered } from "./session.js";

/** Shows the log-in in the whole page; the promise is kept once somebody has logged in. */
export function loginScreen(main) {
  return new Promise((resolve) => {
    document.title = "Log in – Marketing";
    put(
      main,
      h(
        "section",
        { class: "login card" },
        h("span", { class: "mark large" }, icon("mail")),
        h("h1", {}, "Log in to Marketing"),
        loginForm(resolve),
      ),
    );
    main.querySelector("input").focus();
  });
}

/** The same above the page, which stays as it is. */
export function loginDialog() {
  return new Promise((resolve) => {
    const heading = freshId("login");
    const dialog = h(
      "dialog",
      // There is no way on without it: what was asked for waits.
      { class: "login", "aria-labelledby": heading, oncancel: (event) => event.preventDefault() },
      h("h2", { id: heading }, "Your session has ended"),
      h("p", {}, "Log in again to go on. Nothing on this page is lost."),
      loginForm(() => {
        dialog.close();
        dialog.remove();
        resolve();
      }),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

function loginForm(done) {
  const email = field("Email", { type: "email", autocomplete: "username", required: true, value: remembered() });
  const password = field("Password", { type: "password", autocomplete: "current-password" });
  const code = field("Code", { inputmode: "numeric", autocomplete: "one-time-code" }, "From your authenticator, if you use one.");
  const wrong = h("div", { role: "alert" });
  const send = h("button", { class: "button primary wide", type: "submit" }, "Log in");

  async function submitted(event) {
    event.preventDefault();
    send.disabled = true;
    put(wrong);
    try {
      await logIn(email.input.value.trim(), password.input.value, code.input.value.trim());
      done();
    } catch (error) {
      put(wrong, notice(error.message, { tone: "danger" }));
      password.input.select();
    }
    send.disabled = false;
  }

  return h("form", { onsubmit: submitted }, email.element, password.element, code.element, wrong, send);
}

function field(label, properties, hint) {
  const id = freshId("login");
  const input = h("input", { id, "aria-describedby": hint && `${id}-hint`, ...properties });
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
  );
  return { element, input };
}

/** For somebody without a role that may write: the documents keep the whole page for administrators. */
export function notForReaders() {
  document.title = "For administrators – Marketing";
  const { name, roles, writeRoles } = person();
  return h(
    "section",
    { class: "message", role: "alert" },
    h("span", { class: "drawing" }, icon("alert")),
    h("h1", { tabindex: "-1" }, "This page is for administrators"),
    h(
      "p",
      {},
      `You are logged in as ${name}, ${roles.length === 0 ? "without a role" : `with the role ${roles.join(", ")}`}. `,
      `Marketing needs one of these: ${writeRoles.join(", ")}.`,
    ),
    h("p", { class: "quiet" }, "Ask an administrator of your organisation for the role, or log in as somebody who has it."),
    h("p", { class: "actions" }, button("Log in as somebody else", logOut, { tone: "primary" })),
  );
}
