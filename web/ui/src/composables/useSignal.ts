import { onScopeDispose, ref, shallowRef, watch } from "vue";
import { gradeOf, sampleOf, signalBetween, type Signal, type SignalGrade, type SignalSample } from "@/lib/signal";
import type { RtcSent, RtcSession } from "@/lib/whep";

const EACH_MS = 1000;
/** Losses are told of so many samples: one second alone jumps about. */
const SAMPLES = 6;

/**
 * How the live picture arrives, measured in this browser for as long as `shown` says so. The service is asked for the
 * stream that it sends only when that may be another one: at first, and when the picture's size has changed.
 */
export function useSignal(session: () => RtcSession | null, shown: () => boolean) {
  const signal = shallowRef<Signal | null>(null);
  const grade = ref<SignalGrade>("good");
  const sent = shallowRef<RtcSent | null>(null);
  let timer = 0;
  let samples: SignalSample[] = [];
  let size = "";

  async function measure(of: RtcSession): Promise<void> {
    const sample = sampleOf((await of.peer.getStats()).values(), performance.now());
    if (of !== session() || !sample) return;
    samples = [...samples, sample].slice(-SAMPLES);
    const first = samples[0];
    const found = first ? signalBetween(first, sample) : null;
    if (found) {
      signal.value = found;
      grade.value = gradeOf(found);
    }
    const now = `${sample.width}×${sample.height}`;
    if (now === size) return;
    size = now;
    const told = await of.sent();
    if (of === session()) sent.value = told;
  }

  function stop(): void {
    window.clearInterval(timer);
    timer = 0;
    samples = [];
    size = "";
    signal.value = null;
    sent.value = null;
  }

  watch(
    () => (shown() ? session() : null),
    (of) => {
      stop();
      if (!of) return;
      void measure(of);
      timer = window.setInterval(() => void measure(of), EACH_MS);
    },
    { immediate: true },
  );
  onScopeDispose(stop);
  return { signal, grade, sent };
}
