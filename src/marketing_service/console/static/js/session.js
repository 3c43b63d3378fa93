/**
 * Who is logged in. The access token is kept in this module's memory alone, where no other page and no later visitor
 * of this machine finds it. A reload asks the log-in for a new one with its own HttpOnly cookie (`…/refresh`); that
 * there is such a cookie is all that is remembered.
 */

const REMEMBERED = "marketing.loggedIn";
const SOON_SECONDS = 30;

let configuration = null;
let token = null;
let claims = {};
let email = "";
let refreshing = null;
/** Set by whoever can ask a person: returns a promise that is kept once they have logged in. */
let askPerson = null;

export class LoginFailed extends Error {}

/** Reads what this installation is like. */
export async function configure(ask) {
  askPerson = ask;
  const answer = await fetch("/marketing/configuration.json");
  if (!answer.ok) throw new Error("The console's own server does not answer as it should.");
  configuration = await answer.json();
}

/** A token that is good for a while yet; asks the log-in, and then the person, where there is none. */
export async function accessToken() {
  if (token !== null && !endsSoon()) return token;
  if (await refreshed()) return token;
  token = null;
  await askPerson();
  return token;
}

/** The API has refused this token. */
export function refuse(refused) {
  if (token === refused) token = null;
}

/** Logs in. Throws LoginFailed with a sentence for the person. */
export async function logIn(address, password, mfaCode) {
  const answer = await ask(configuration.loginUrl, { email: address, password, mfaCode });
  if (!answer.ok) throw new LoginFailed(await refusal(answer));
  email = address;
  await accept(answer);
  localStorage.setItem(REMEMBERED, address);
}

export function logOut() {
  token = null;
  localStorage.removeItem(REMEMBERED);
  location.assign("/marketing");
}

/** Whether somebody was logged in here before, so that the log-in may still know them. */
export const remembered = () => localStorage.getItem(REMEMBERED) ?? "";

export function person() {
  const roles = Array.isArray(claims[configuration.rolesClaim]) ? claims[configuration.rolesClaim] : [];
  return {
    name: claims.email ?? claims.name ?? (email || remembered() || claims.sub || ""),
    organisation: claims[configuration.orgClaim] ?? "",
    roles,
    writeRoles: configuration.writeRoles,
    // What the page offers; what is allowed is the API's to say.
    mayWrite: roles.some((role) => configuration.writeRoles.includes(role)),
  };
}

function endsSoon() {
  return typeof claims.exp === "number" && claims.exp - Date.now() / 1000 < SOON_SECONDS;
}

async function refreshed() {
  if (remembered() === "") return false;
  refreshing ??= refresh().finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function refresh() {
  try {
    const answer = await ask(new URL("refresh", new URL(configuration.loginUrl, location.href)));
    if (answer.ok) {
      await accept(answer);
      return true;
    }
    // A log-in that cannot refresh is not asked again; one that is down may be back in a moment.
    if (answer.status < 500) localStorage.removeItem(REMEMBERED);
  } catch {
    // The person is asked, and told why when their log-in fails too.
  }
  return false;
}

async function ask(url, body) {
  try {
    return await fetch(url, {
      method: "POST",
      // The log-in's cookie, also where the log-in is at another origin.
      credentials: "include",
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new LoginFailed("The log-in does not answer. Try again in a moment.");
  }
}

async function accept(answer) {
  const { accessToken: received } = await answer.json();
  if (typeof received !== "string") throw new LoginFailed("The log-in gave no access token.");
  token = received;
  claims = claimsOf(received);
}

/** What the token says, to show it: the API proves it. */
function claimsOf(jwt) {
  try {
    const part = jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}

async function refusal(answer) {
  try {
    const { detail, message } = await answer.json();
    const said = [detail, message].find((text) => typeof text === "string");
    if (said !== undefined) return said;
  } catch {
    // It said so in another form.
  }
  return answer.status < 500 ? "The log-in does not know these." : "The log-in does not work right now.";
}
