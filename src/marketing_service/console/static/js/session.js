/**
 * The current user. The access token is stored only in the memory of this module, so that no other page and no later
 * user of this machine can read it. After a reload, the log-in service gives a new token for its HttpOnly cookie
 * (`…/refresh`). Local storage only contains the email address of the last log-in.
 */

import { CONSOLE } from "./paths.js";

const EMAIL_KEY = "marketing.loggedIn";
/** Why the log-in service could not end the session. The log-in page shows it once. */
const LOGOUT_PROBLEM_KEY = "marketing.logoutProblem";
const LOGOUT_SECONDS = 10;
const MIN_VALID_SECONDS = 30;

let configuration = null;
let token = null;
let claims = {};
let email = "";
let refreshing = null;
/** Shows the log-in. Returns a promise that resolves after the log-in. */
let showLogin = null;

export class LoginFailed extends Error {}

/** Loads the configuration of this installation. */
export async function configure(loginPrompt) {
  showLogin = loginPrompt;
  const response = await fetch(`${CONSOLE}/configuration.json`);
  if (!response.ok) throw new Error("The console could not load its configuration. Try again in a moment.");
  configuration = await response.json();
}

/** A token that does not expire soon. If there is none, uses the refresh cookie, and then asks the user to log in. */
export async function accessToken() {
  if (token !== null && !expiresSoon()) return token;
  if (await tryRefresh()) return token;
  token = null;
  await showLogin();
  return token;
}

/** Forgets a token that the API has refused. */
export function rejectToken(rejected) {
  if (token === rejected) token = null;
}

/** Logs in. Throws LoginFailed with a message for the user. */
export async function logIn(address, password, mfaCode) {
  const response = await post(configuration.loginUrl, { email: address, password, mfaCode });
  if (!response.ok) throw new LoginFailed(await errorText(response));
  email = address;
  await useTokenOf(response);
  localStorage.setItem(EMAIL_KEY, address);
}

/**
 * Ends the session at the log-in service, then forgets the token by loading the page again. If the service cannot end
 * the session, the token is forgotten too, and the log-in page says so.
 */
export async function logOut() {
  localStorage.removeItem(EMAIL_KEY);
  const problem = await endSession();
  token = null;
  if (problem !== null) sessionStorage.setItem(LOGOUT_PROBLEM_KEY, problem);
  location.assign(CONSOLE);
}

/** Returns null, or the reason why the session may still exist. */
async function endSession() {
  try {
    const response = await post(configuration.logoutUrl, undefined, AbortSignal.timeout(LOGOUT_SECONDS * 1000));
    // 401: the session had ended before.
    return response.ok || response.status === 401 ? null : `The log-in service responded with status ${response.status}.`;
  } catch (error) {
    return error.message;
  }
}

/** Why the last log-out did not end the session, or null. The second call returns null. */
export function takeLogoutProblem() {
  const problem = sessionStorage.getItem(LOGOUT_PROBLEM_KEY);
  sessionStorage.removeItem(LOGOUT_PROBLEM_KEY);
  return problem;
}

/** The email address of the last log-in here, or empty. If there is one, there may be a refresh cookie. */
export const rememberedEmail = () => localStorage.getItem(EMAIL_KEY) ?? "";

export function currentUser() {
  const roles = Array.isArray(claims[configuration.rolesClaim]) ? claims[configuration.rolesClaim] : [];
  return {
    name: claims.email ?? claims.name ?? (email || rememberedEmail() || claims.sub || ""),
    organisation: claims[configuration.orgClaim] ?? "",
    roles,
    writeRoles: configuration.writeRoles,
    // Decides only what the console shows. The API enforces the roles.
    mayWrite: roles.some((role) => configuration.writeRoles.includes(role)),
  };
}

function expiresSoon() {
  return typeof claims.exp === "number" && claims.exp - Date.now() / 1000 < MIN_VALID_SECONDS;
}

async function tryRefresh() {
  if (rememberedEmail() === "") return false;
  refreshing ??= refresh().finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function refresh() {
  try {
    const response = await post(new URL("refresh", new URL(configuration.loginUrl, location.href)));
    if (response.ok) {
      await useTokenOf(response);
      return true;
    }
    // If the log-in service refuses to refresh, the console does not try again. A server error may be temporary.
    if (response.status < 500) localStorage.removeItem(EMAIL_KEY);
  } catch {
    // The user is asked to log in. If that fails too, they see the reason.
  }
  return false;
}

async function post(url, body, signal) {
  try {
    return await fetch(url, {
      method: "POST",
      // Sends the cookie of the log-in service, even if that is at another origin.
      credentials: "include",
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch {
    throw new LoginFailed("The log-in service is not responding. Try again in a moment.");
  }
}

async function useTokenOf(response) {
  const { accessToken: received } = await response.json();
  if (typeof received !== "string") throw new LoginFailed("The log-in service did not return an access token. Tell your administrator.");
  token = received;
  claims = claimsOf(received);
}

/** The claims of the token, for display. The signature is checked by the API only. */
function claimsOf(jwt) {
  try {
    const part = jwt.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}

async function errorText(response) {
  try {
    const { detail, message } = await response.json();
    const text = [detail, message].find((one) => typeof one === "string");
    if (text !== undefined) return text;
  } catch {
    // The response is not JSON.
  }
  return response.status < 500 ? "The email, password or code is not correct." : "The log-in service is not working right now. Try again later.";
}
