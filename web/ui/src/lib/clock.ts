import { readonly, ref } from "vue";

// Times on screen count from the service's clock: an office PC is often minutes off.
let offsetMs = 0;
const ticking = ref(Date.now());

/** The service's time, stepping once a second. Unix milliseconds. */
export const now = readonly(ticking);

/** The service's time at this very moment. Unix milliseconds. */
export function serverNow(): number {
  return Date.now() + offsetMs;
}

/** Learns the offset from a `Date` header, which has a resolution of one second. */
export function observeServerTime(header: string | null): void {
  if (!header) return;
  const sent = Date.parse(header);
  if (Number.isNaN(sent)) return;
  const difference = sent + 500 - Date.now();
  offsetMs = Math.abs(difference) > 1500 ? difference : 0;
}

/** Starts the tick; called once by the page's entry. */
export function startClock(): void {
  window.setInterval(() => {
    ticking.value = serverNow();
  }, 1000);
}
