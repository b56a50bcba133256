import { onMounted, onScopeDispose, ref, shallowRef } from "vue";
import { t } from "@/i18n";
import { Problem } from "@/lib/problem";
import { sendingTrouble, sendsNoPicture, type SendTrouble } from "@/lib/sending";
import { canRtc, openRtc, type RtcSession } from "@/lib/whep";

/** `lost` is sending that broke off and is being taken up again. */
export type PublishState = "idle" | "starting" | "sending" | "lost";

const CHOICE = "sanhui.room.sends";
/** What somebody has to mend is tried again so seldom: Firefox asks for the camera each time. Milliseconds. */
const MENDED_MS = 15_000;
/** So often it is looked whether a picture leaves: an encoder that fails says nothing. Milliseconds. */
const LOOK_MS = 5_000;

function sentence(trouble: SendTrouble): string {
  if (!(trouble instanceof Problem)) return t(`room.sendTrouble.${trouble}`);
  return t("room.sendTrouble.refused", { title: trouble.title, detail: trouble.detail });
}

/** Sends the picture and sound of this device's own camera, for as long as it is wanted, over every loss of network. */
export function usePublish(url: () => string | null) {
  const state = ref<PublishState>("idle");
  const hasCamera = ref(false);
  const preview = shallowRef<MediaStream | null>(null);
  /** Why nothing is sent, in a sentence; empty where it is the network. */
  const trouble = ref("");
  let session: RtcSession | null = null;
  let timer = 0;
  let looking = 0;
  let round = 0;
  let failures = 0;

  async function look(): Promise<void> {
    if (!canRtc() || !navigator.mediaDevices) return;
    const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
    hasCamera.value = devices.some((device) => device.kind === "videoinput");
    // A box that lost its power goes on with what it did, and so does a camera that was plugged out and in again.
    const waits = state.value === "idle" || state.value === "lost";
    if (hasCamera.value && waits && localStorage.getItem(CHOICE)) void start();
  }

  async function start(): Promise<void> {
    const mine = ++round;
    window.clearTimeout(timer);
    state.value = "starting";
    localStorage.setItem(CHOICE, "1");
    try {
      const address = url();
      if (!address) throw new Error("no address yet");
      const stream = await camera();
      if (mine !== round) {
        // Stopped while the browser was still asking.
        if (localStorage.getItem(CHOICE) === null) rest();
        return;
      }
      const opened = await openRtc(address, {
        send: stream,
        onState: (now) => {
          if (mine !== round) return;
          if (now === "connected") {
            failures = 0;
            trouble.value = "";
            state.value = "sending";
          } else if (now === "lost") again();
        },
      });
      if (mine === round) {
        session = opened;
        looking = window.setInterval(() => void lookAtPicture(opened), LOOK_MS);
      } else opened.close();
    } catch (error) {
      if (mine !== round) return;
      const found = sendingTrouble(error);
      again(found ? MENDED_MS : null);
      trouble.value = found ? sentence(found) : "";
    }
  }

  async function lookAtPicture(of: RtcSession): Promise<void> {
    const report = await of.peer.getStats();
    if (of !== session || state.value !== "sending") return;
    trouble.value = sendsNoPicture(report.values()) ? t("room.sendTrouble.noPicture") : "";
  }

  /** The camera's stream, taken anew where it has ended: a camera that was plugged out comes back as another. */
  async function camera(): Promise<MediaStream> {
    if (preview.value?.getTracks().every((track) => track.readyState === "live")) return preview.value;
    rest();
    const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25, max: 30 } };
    const audio = { echoCancellation: true, noiseSuppression: true };
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio }).catch((error: unknown) => {
      // Many a USB camera has no microphone: a meeting without sound is better on record than none.
      if (error instanceof DOMException && error.name === "NotFoundError") {
        return navigator.mediaDevices.getUserMedia({ video });
      }
      throw error;
    });
    // A weak line takes pictures away, never sharpness: a recording keeps one size, and faces and papers stay legible.
    for (const track of stream.getVideoTracks()) track.contentHint = "detail";
    for (const track of stream.getTracks()) {
      track.addEventListener("ended", () => {
        if (stream === preview.value && state.value !== "idle") again();
      });
    }
    preview.value = stream;
    return stream;
  }

  function rest(): void {
    for (const track of preview.value?.getTracks() ?? []) track.stop();
    preview.value = null;
  }

  function again(wait: number | null = null): void {
    round++;
    window.clearTimeout(timer);
    leave();
    trouble.value = "";
    state.value = "lost";
    timer = window.setTimeout(
      () => void start(),
      (wait ?? Math.min(15_000, 500 * 2 ** failures++)) * (0.7 + 0.6 * Math.random()),
    );
  }

  function stop(): void {
    round++;
    window.clearTimeout(timer);
    localStorage.removeItem(CHOICE);
    end();
  }

  function leave(): void {
    window.clearInterval(looking);
    session?.close();
    session = null;
  }

  function end(): void {
    leave();
    rest();
    trouble.value = "";
    state.value = "idle";
  }

  onMounted(() => {
    void look();
    navigator.mediaDevices?.addEventListener("devicechange", look);
  });
  onScopeDispose(() => {
    round++;
    window.clearTimeout(timer);
    navigator.mediaDevices?.removeEventListener("devicechange", look);
    end();
  });

  return { state, hasCamera, preview, trouble, start, stop };
}
