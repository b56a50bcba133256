/** How long a person may touch nothing before what the page fetches by itself stops counting as their presence. */
const IDLE_AFTER = 60_000;

let lastTouch = Date.now();

function touched(): void {
  lastTouch = Date.now();
}

/** Begins to notice the person's hands: pointer, keys, wheel. */
export function watchActivity(): void {
  for (const event of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
    window.addEventListener(event, touched, { passive: true });
  }
}

/** True while nobody has touched anything for a while. */
export function isIdle(now: number = Date.now()): boolean {
  return now - lastTouch > IDLE_AFTER;
}
