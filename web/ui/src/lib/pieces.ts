/**
 * Pages and the player come in pieces, each fetched when it is first needed. One that could not be had, as in a moment
 * without network or because the service is another version by now, stays missing until the page is loaded anew:
 * browsers remember that it failed.
 */
import type { Router } from "vue-router";

const LOOK_MS = 2000;
/** Not more often: what is missing for good must not make a page blink. */
const APART_MS = 30_000;
const KEPT = "sanhui.loaded-anew";

/** Where somebody has typed, the page is not taken away. */
function isTyping(): boolean {
  return [...document.querySelectorAll<HTMLInputElement>("textarea, .el-overlay input")].some((field) => field.value);
}

async function isThere(): Promise<boolean> {
  const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(LOOK_MS) }).catch(() => null);
  return answer?.ok ?? false;
}

/** Loads the page anew where a piece of it is missing, as soon as the service can be reached. */
export function loadAnewWherePiecesAreMissing(router: Router): void {
  let isMissing = false;
  let wanted: string | null = null;

  async function loadAnew(): Promise<void> {
    const earliest = Number(sessionStorage.getItem(KEPT)) + APART_MS;
    for (;;) {
      await new Promise((done) => window.setTimeout(done, LOOK_MS));
      if (Date.now() >= earliest && (wanted !== null || !isTyping()) && (await isThere())) break;
    }
    sessionStorage.setItem(KEPT, String(Date.now()));
    if (wanted === null || wanted === router.currentRoute.value.fullPath) window.location.reload();
    else window.location.assign(wanted);
  }

  window.addEventListener("vite:preloadError", () => {
    if (isMissing) return;
    isMissing = true;
    void loadAnew();
  });
  router.onError((_error, to) => {
    wanted = to.fullPath;
  });
}
