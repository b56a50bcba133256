/** Fetches what shows a meeting while nobody waits for it: a click is then followed by the picture, not by downloads. */
export function fetchPlayerAhead(): void {
  const fetch = (): void => {
    void Promise.all([import("@/pages/MeetingPage.vue"), import("hls.js")]).catch(() => undefined);
  };
  if ("requestIdleCallback" in window) window.requestIdleCallback(fetch, { timeout: 3000 });
  else setTimeout(fetch, 500);
}
