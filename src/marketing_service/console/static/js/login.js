/** The log-in, as a page or as a dialog, and the page for users who may not use the console. */

import { uniqueId, h, icon, setContent } from "./dom.js";
import { button, notice } from "./components.js";
import { logIn, logOut, currentUser, rememberedEmail, takeLogoutProblem } from "./session.js";

/** Shows the log-in as a whole page. The promise resolves after the log-in. */
export function loginScreen(main) {
  return new Promise((resolve) => {
    document.title = "Log in – Marketing";
    setContent(
      main,
      h(
        "section",
        { class: "login card" },
        h("span", { class: "mark large" }, icon("mail")),
        h("h1", {}, "Log in to Marketing"),
        logoutNotice(),
        loginForm(resolve),
      ),
    );
    main.querySelector("input").focus();
  });
}

/** A notice if the last log-out did not end the session, else null. */
function logoutNotice() {
  const problem = takeLogoutProblem();
  if (problem === null) return null;
  return notice(
    `You are logged out of this console, but your session at the log-in service may not have ended. ${problem} If others use this browser, log out at the portal, too.`,
    { tone: "warning", role: "alert" },
  );
}

/** Shows the log-in as a dialog above the current page. The promise resolves after the log-in. */
export function loginDialog() {
  return new Promise((resolve) => {
    const heading = uniqueId("login");
    const dialog = h(
      "dialog",
      // The dialog cannot be closed without a log-in, because a request waits for it.
      { class: "login", "aria-labelledby": heading, oncancel: (event) => event.preventDefault() },
      h("h2", { id: heading }, "Your session has ended"),
      h("p", {}, "Log in again to continue. Your work on this page is not lost."),
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
  const email = field("Email", { type: "email", autocomplete: "username", required: true, value: rememberedEmail() });
  const password = field("Password", { type: "password", autocomplete: "current-password" });
  const code = field("Code", { inputmode: "numeric", autocomplete: "one-time-code" }, "From your authenticator app, if you use one.");
  const errorBox = h("div", { role: "alert" });
  const submit = h("button", { class: "button primary wide", type: "submit" }, "Log in");

  async function onSubmit(event) {
    event.preventDefault();
    submit.disabled = true;
    setContent(errorBox);
    try {
      await logIn(email.input.value.trim(), password.input.value, code.input.value.trim());
      done();
    } catch (error) {
      setContent(errorBox, notice(error.message, { tone: "danger" }));
      password.input.select();
    }
    submit.disabled = false;
  }

  return h("form", { onsubmit: onSubmit }, email.element, password.element, code.element, errorBox, submit);
}

function field(label, properties, hint) {
  const id = uniqueId("login");
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

/** The page for a user without a write role. The console is for write roles only. */
export function notAuthorizedPage() {
  document.title = "For administrators – Marketing";
  const { name, roles, writeRoles } = currentUser();
  return h(
    "section",
    { class: "message", role: "alert" },
    h("span", { class: "message-icon" }, icon("alert")),
    h("h1", { tabindex: "-1" }, "This page is for administrators"),
    h(
      "p",
      {},
      `You are logged in as ${name} ${roles.length === 0 ? "without a role" : `with the role ${roles.join(", ")}`}. `,
      `To use Marketing you need one of these roles: ${writeRoles.join(", ")}.`,
    ),
    h("p", { class: "quiet" }, "Ask an administrator of your organisation for access, or log in with another account."),
    h("p", { class: "actions" }, button("Log in with another account", logOut, { tone: "primary" })),
  );
}
