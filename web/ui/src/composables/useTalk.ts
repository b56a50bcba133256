import { computed, onScopeDispose, readonly, ref, watch } from "vue";
import { commonHeaders, asProblem } from "@/api/client";
import { t } from "@/i18n";
import { Problem } from "@/lib/problem";
import { canRtc, openRtc, type RtcOptions, type RtcSession } from "@/lib/whep";

/** `asking` waits for the microphone or the service's yes; `talking` is heard in the room. */
export type TalkState = "idle" | "asking" | "talking" | "refused";

/** After letting go the microphone stays open so long, so that the next sentence needs no wait. Milliseconds. */
const KEEP_MIC_MS = 60_000;
const ASK_AGAIN_MS = 1_500;
/** So long after a line is gone the word of who took over may still come. Milliseconds. */
const TOLD_LATE_MS = 4_000;

function localProblem(code: string, words: Record<string, string> = {}): Problem {
  const [title, detail] = [t(`talk.${code}.title`, words), t(`talk.${code}.detail`, words)];
  return new Problem({ title, detail, status: 0, code });
}

/**
 * The voice of an official into a meeting's room: pressed begins, let go ends.
 *
 * @param speaker Who speaks into the room now, if it is somebody else; empty if nobody does.
 */
export function useTalk(url: () => string | null, speaker: () => string = () => "") {
  const state = ref<TalkState>("idle");
  const problem = ref<Problem | null>(null);
  let session: RtcSession | null = null;
  let microphone: MediaStream | null = null;
  let micTimer = 0;
  let round = 0;
  let lostAt = 0;
  /** Where this person stands in the queue; empty where in none. */
  let queuedAt = "";

  async function openMicrophone(): Promise<MediaStream> {
    window.clearTimeout(micTimer);
    if (microphone?.getAudioTracks().some((track) => track.readyState === "live")) return microphone;
    // Browsers give a microphone to pages that came over HTTPS or from this machine alone.
    if (!canRtc() || !navigator.mediaDevices) throw localProblem("insecure");
    try {
      microphone = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
      });
    } catch (error) {
      const denied = error instanceof DOMException && error.name === "NotAllowedError";
      throw localProblem(denied ? "denied" : "noMicrophone");
    }
    return microphone;
  }

  async function press(): Promise<void> {
    const address = url();
    if (!address || state.value === "asking" || state.value === "talking") return;
    const mine = ++round;
    state.value = "asking";
    problem.value = null;
    try {
      const stream = await openMicrophone();
      if (mine !== round) return;
      const opened = await openInTurn(() => mine === round, address, {
        send: stream,
        onState: (now) => {
          if (mine !== round) return;
          if (now === "connected") {
            problem.value = null;
            state.value = "talking";
          } else if (now === "lost") lose();
        },
      });
      if (mine === round) {
        session = opened;
        queuedAt = "";
      } else opened.close();
    } catch (error) {
      if (mine === round) fail(asProblem(error));
    }
  }

  /** While somebody else speaks and the key is held, ask again: the service keeps this person's place in the queue. */
  async function openInTurn(held: () => boolean, address: string, options: RtcOptions): Promise<RtcSession> {
    for (;;) {
      try {
        return await openRtc(address, options);
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== "talk-busy" || !held()) throw error;
        problem.value = error;
        queuedAt = address;
      }
      await new Promise((done) => window.setTimeout(done, ASK_AGAIN_MS));
      if (!held()) throw new DOMException("let go", "AbortError");
    }
  }

  /** A higher office takes the floor over by closing this line: then it is not the network that is at fault. */
  function lose(): void {
    lostAt = performance.now();
    const other = speaker();
    fail(other ? localProblem("interrupted", { speaker: other }) : localProblem("lost"));
  }

  watch(speaker, (other) => {
    if (!other) return;
    const justLost = problem.value?.code === "lost" && performance.now() - lostAt < TOLD_LATE_MS;
    if (state.value === "talking" || (state.value === "refused" && justLost)) {
      fail(localProblem("interrupted", { speaker: other }));
    }
  });

  function fail(found: Problem): void {
    release();
    problem.value = found;
    state.value = "refused";
  }

  function release(): void {
    round++;
    session?.close();
    session = null;
    state.value = "idle";
    if (queuedAt) leaveQueue(queuedAt);
    queuedAt = "";
    window.clearTimeout(micTimer);
    micTimer = window.setTimeout(closeMicrophone, KEEP_MIC_MS);
  }

  /** Or the floor would come to somebody who has let go, and nobody could speak until the service has noticed. */
  function leaveQueue(address: string): void {
    void fetch(address, { method: "DELETE", headers: commonHeaders("DELETE"), keepalive: true }).catch(() => undefined);
  }

  function closeMicrophone(): void {
    for (const track of microphone?.getTracks() ?? []) track.stop();
    microphone = null;
  }

  onScopeDispose(() => {
    release();
    window.clearTimeout(micTimer);
    closeMicrophone();
  });

  return {
    state: readonly(state),
    problem: readonly(problem),
    /** While this page talks, the room's sound is turned down so that nobody hears himself. */
    talking: computed(() => state.value === "talking" || state.value === "asking"),
    press,
    release,
  };
}

export type Talk = ReturnType<typeof useTalk>;
