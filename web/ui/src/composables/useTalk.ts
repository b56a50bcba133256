import { computed, onScopeDispose, readonly, ref } from "vue";
import { networkProblem } from "@/api/client";
import { t } from "@/i18n";
import { Problem } from "@/lib/problem";
import { canRtc, openRtc, type RtcOptions, type RtcSession } from "@/lib/whep";

/** `asking` waits for the microphone or the service's yes; `talking` is heard in the room. */
export type TalkState = "idle" | "asking" | "talking" | "refused";

/** After letting go the microphone stays open so long, so that the next sentence needs no wait. Milliseconds. */
const KEEP_MIC_MS = 60_000;
const ASK_AGAIN_MS = 1_500;

function localProblem(code: string): Problem {
  return new Problem({ title: t(`talk.${code}.title`), detail: t(`talk.${code}.detail`), status: 0, code });
}

/** The voice of an official into a meeting's room: pressed begins, let go ends. */
export function useTalk(url: () => string | null) {
  const state = ref<TalkState>("idle");
  const problem = ref<Problem | null>(null);
  let session: RtcSession | null = null;
  let microphone: MediaStream | null = null;
  let micTimer = 0;
  let round = 0;

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
          } else if (now === "lost") fail(localProblem("lost"));
        },
      });
      if (mine === round) session = opened;
      else opened.close();
    } catch (error) {
      if (mine === round) fail(error instanceof Problem ? error : networkProblem());
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
      }
      await new Promise((done) => window.setTimeout(done, ASK_AGAIN_MS));
      if (!held()) throw new DOMException("let go", "AbortError");
    }
  }

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
    window.clearTimeout(micTimer);
    micTimer = window.setTimeout(closeMicrophone, KEEP_MIC_MS);
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
