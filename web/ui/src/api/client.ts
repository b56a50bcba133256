import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "@/api/schema";
import { isIdle } from "@/lib/activity";
import { observeServerTime } from "@/lib/clock";
import { isProblemDetails, Problem } from "@/lib/problem";
import { language, t } from "@/i18n";

export type Schemas = components["schemas"];

const TOKEN_HEADER = "X-CSRF-Token";

let csrfToken = "";
let onSessionLost: (() => void) | null = null;
let renewToken: (() => Promise<boolean>) | null = null;

/** Hands over the token that every change must carry. */
export function setCsrfToken(token: string): void {
  csrfToken = token;
}

/** Names who is told when the service says that nobody is logged in any more. */
export function whenSessionLost(handler: () => void): void {
  onSessionLost = handler;
}

/** Names who hands over another token where the service takes this one no longer; true if there is one. */
export function whenTokenRefused(handler: () => Promise<boolean>): void {
  renewToken = handler;
}

/** Headers that every request carries; also for requests that are not made by the typed client. */
export function commonHeaders(method: string): Record<string, string> {
  const headers: Record<string, string> = { "Accept-Language": language.value };
  // A page that refreshes itself must not keep an unattended desk logged in.
  if (method === "GET" && isIdle()) headers["X-Background"] = "1";
  if (method !== "GET" && method !== "HEAD" && csrfToken) headers[TOKEN_HEADER] = csrfToken;
  return headers;
}

/**
 * Sends a request; once more where it was refused for its token alone, which does nothing, and a new token can be had.
 * Also for requests that are not made by the typed client.
 */
export async function send(request: Request): Promise<Response> {
  const again = request.headers.has(TOKEN_HEADER) ? request.clone() : null;
  const response = await fetch(request);
  if (response.status !== 403 || !again || !renewToken) return response;
  const problem: unknown = await response
    .clone()
    .json()
    .catch(() => null);
  if (!isProblemDetails(problem) || problem.code !== "csrf-wrong") return response;
  if (!(await renewToken().catch(() => false))) return response;
  again.headers.set(TOKEN_HEADER, csrfToken);
  return fetch(again);
}

const middleware: Middleware = {
  onRequest({ request }) {
    for (const [name, value] of Object.entries(commonHeaders(request.method))) request.headers.set(name, value);
    return request;
  },
  onResponse({ response }) {
    observeServerTime(response.headers.get("Date"));
    return response;
  },
};

/** Where the service answers; the OpenAPI description names paths below it. */
export const BASE = "/api/v1";

export const api = createClient<paths>({ baseUrl: BASE, credentials: "same-origin", fetch: send });
api.use(middleware);

/** Turns an answer that is no success into a {@link Problem}. */
export function problemOf(response: Response, body: unknown): Problem {
  if (response.status === 401) onSessionLost?.();
  if (isProblemDetails(body)) return new Problem(body);
  return new Problem({
    title: t("problem.unexpected.title"),
    detail: t("problem.unexpected.detail"),
    status: response.status,
    code: `http-${response.status}`,
  });
}

/** The problem of a service that cannot be reached. */
export function networkProblem(): Problem {
  return new Problem({
    title: t("problem.network.title"),
    detail: t("problem.network.detail"),
    status: 0,
    code: "network",
  });
}

/** What was thrown, as something to show: what is no {@link Problem} comes from a connection that broke. */
export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : networkProblem();
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/**
 * Waits for an answer of the typed client and gives its body.
 *
 * @throws Problem for every answer that is no success, and for a service that cannot be reached.
 */
export async function take<T>(request: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await request;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw networkProblem();
  }
  if (!answer.response.ok) throw problemOf(answer.response, answer.error);
  return answer.data as T;
}
