/**
 * Keeps what is live as close behind the room as the network allows.
 *
 * hls.js plays faster only while more than a second is buffered, so with parts of half a second it never comes closer
 * than a second and a half. Here the least that was buffered lately decides: what is never needed is played away, and
 * each stall asks for more to spare.
 */

const SPARE_S = 0.3;
const MOST_SPARE_S = 2;
const STALL_STEP_S = 0.1;
/** Signs of a stall that follow each other so soon are of one. */
const ONE_STALL_MS = 2_000;
/** After so long without a stall a step of what stalls asked for is given back. */
const CALM_MS = 20_000;
/** More than three parts long: the least before a part came is among what was seen. */
const LOOK_BACK_MS = 2_000;
const LOOK_MS = 100;
/** Whoever has gone back further than this wants to be there. Seconds. */
const OWN_WILL_S = 8;

/** From what is buffered, second for second, to how fast to play. Times in milliseconds. */
export class Closeness {
  private spare = SPARE_S;
  private calmSince: number | null = null;
  private stalledAt = -Infinity;
  private seen: { at: number; ahead: number }[] = [];

  /** How fast to play at `now`, with `ahead` seconds of media there. */
  rate(now: number, ahead: number): number {
    this.calmSince ??= now;
    if (now - this.calmSince > CALM_MS) {
      this.spare = Math.max(SPARE_S, this.spare - STALL_STEP_S);
      this.calmSince = now;
    }
    this.seen.push({ at: now, ahead });
    this.seen = this.seen.filter((item) => item.at >= now - LOOK_BACK_MS);
    const over = Math.min(...this.seen.map((item) => item.ahead)) - this.spare;
    if (over > OWN_WILL_S) return 1;
    if (over > 0.4) return 1.15;
    if (over > 0.05) return 1.05;
    return over < -0.1 ? 0.97 : 1;
  }

  /** Nothing was left to play at `now`. */
  stalled(now: number): void {
    if (now - this.stalledAt >= ONE_STALL_MS) this.spare = Math.min(MOST_SPARE_S, this.spare + STALL_STEP_S);
    this.stalledAt = now;
    this.calmSince = now;
    this.seen = [];
  }
}

/** Keeps a live `<video>` close until the function it returns is called. */
export function keepClose(video: HTMLVideoElement): () => void {
  const closeness = new Closeness();
  let begun = false;
  const playing = (): void => {
    begun = true;
  };
  const waiting = (): void => {
    if (begun && !video.seeking) closeness.stalled(performance.now());
  };
  const look = (): void => {
    if (!begun || video.paused || video.seeking || video.buffered.length === 0) return;
    const ahead = video.buffered.end(video.buffered.length - 1) - video.currentTime;
    const rate = closeness.rate(performance.now(), ahead);
    if (video.playbackRate !== rate) video.playbackRate = rate;
  };
  video.addEventListener("playing", playing);
  video.addEventListener("waiting", waiting);
  const timer = window.setInterval(look, LOOK_MS);
  return () => {
    window.clearInterval(timer);
    video.removeEventListener("playing", playing);
    video.removeEventListener("waiting", waiting);
  };
}
