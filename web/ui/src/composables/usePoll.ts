import { onActivated, onDeactivated, onMounted, onScopeDispose, ref, shallowRef, type Ref, type ShallowRef } from "vue";
import { networkProblem } from "@/api/client";
import { Problem } from "@/lib/problem";

export interface Poll<T> {
  /** The last answer; kept while later ones fail. */
  data: ShallowRef<T | null>;
  /** Why the last request failed; null once one succeeds. */
  problem: Ref<Problem | null>;
  /** True until the first answer or failure. */
  waiting: Ref<boolean>;
  /** Asks at once and begins to count anew. */
  refresh: () => Promise<void>;
}

/**
 * Asks again and again while the page is seen; rests while it is hidden or kept aside.
 *
 * @param interval Milliseconds between an answer and the next question; a function where it depends on the state.
 */
export function usePoll<T>(load: () => Promise<T>, interval: number | (() => number)): Poll<T> {
  const data = shallowRef<T | null>(null);
  const problem = ref<Problem | null>(null);
  const waiting = ref(true);
  let timer = 0;
  let round = 0;
  let active = false;

  async function ask(): Promise<void> {
    window.clearTimeout(timer);
    const mine = ++round;
    try {
      const answer = await load();
      if (mine !== round) return;
      data.value = answer;
      problem.value = null;
    } catch (error) {
      if (mine !== round) return;
      problem.value = error instanceof Problem ? error : networkProblem();
    } finally {
      if (mine === round) waiting.value = false;
    }
    if (mine === round && active) schedule();
  }

  function schedule(): void {
    window.clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), typeof interval === "function" ? interval() : interval);
  }

  function wake(): void {
    if (active && document.visibilityState === "visible") void ask();
    else window.clearTimeout(timer);
  }

  function begin(): void {
    if (active) return;
    active = true;
    void ask();
    document.addEventListener("visibilitychange", wake);
  }

  function rest(): void {
    active = false;
    window.clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
  }

  onMounted(begin);
  onActivated(begin);
  onDeactivated(rest);
  onScopeDispose(() => {
    rest();
    round++;
  });
  return { data, problem, waiting, refresh: ask };
}
