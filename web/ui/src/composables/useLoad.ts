import {
  onActivated,
  onDeactivated,
  onMounted,
  onScopeDispose,
  ref,
  shallowRef,
  watch,
  type Ref,
  type ShallowRef,
} from "vue";
import { asProblem } from "@/api/client";
import { eventsConnected } from "@/lib/events";
import type { Problem } from "@/lib/problem";

export interface Load<T> {
  /** The last answer; kept while later ones fail. */
  data: ShallowRef<T | null>;
  /** Why the last request failed; null once one succeeds. */
  problem: Ref<Problem | null>;
  /** True until the first answer or failure. */
  waiting: Ref<boolean>;
  /** Asks now. */
  refresh: () => Promise<void>;
}

/**
 * Asks once when the page is opened, and again when somebody comes back to it or the connection does. What changes in
 * between is told by events, or asked for with `refresh`.
 */
export function useLoad<T>(load: () => Promise<T>): Load<T> {
  const data = shallowRef<T | null>(null);
  const problem = ref<Problem | null>(null);
  const waiting = ref(true);
  let round = 0;
  let active = false;

  async function ask(): Promise<void> {
    const mine = ++round;
    try {
      const answer = await load();
      if (mine !== round) return;
      data.value = answer;
      problem.value = null;
    } catch (error) {
      if (mine !== round) return;
      problem.value = asProblem(error);
    } finally {
      if (mine === round) waiting.value = false;
    }
  }

  function look(): void {
    if (active && document.visibilityState === "visible") void ask();
  }

  function begin(): void {
    if (active) return;
    active = true;
    void ask();
    document.addEventListener("visibilitychange", look);
  }

  function rest(): void {
    active = false;
    document.removeEventListener("visibilitychange", look);
  }

  onMounted(begin);
  onActivated(begin);
  onDeactivated(rest);
  onScopeDispose(() => {
    rest();
    round++;
  });
  watch(eventsConnected, (connected) => {
    if (connected) look();
  });
  return { data, problem, waiting, refresh: ask };
}
