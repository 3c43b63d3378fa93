/** Where this service is at its origin: a proxy may serve it below a prefix. The address of this file says it. */

const ROOT = new URL("../../..", import.meta.url).pathname.slice(0, -1);

/** The path of the console. */
export const CONSOLE = `${ROOT}/marketing`;
/** The path of the API. */
export const API = `${ROOT}/api/marketing`;
