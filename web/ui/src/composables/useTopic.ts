import { onActivated, onDeactivated, onMounted, onScopeDispose, watch } from "vue";
import type { Schemas } from "@/api/client";
import { subscribe, type TopicEvent } from "@/lib/events";

/**
 * Follows a topic of the event socket while the page is seen; another topic, or null, may come at any time.
 *
 * A hidden page goes on listening, but says that nobody looks.
 */
export function useTopic(
  topic: () => string | null,
  handle: (event: TopicEvent) => void,
  refused?: (problem: Schemas["Notice"]) => void,
): void {
  let end: (() => void) | null = null;
  let active = false;

  function follow(): void {
    const before = end;
    const wanted = active ? topic() : null;
    const watching = document.visibilityState === "visible";
    end = wanted ? subscribe(wanted, handle, { watching, ...(refused ? { refused } : {}) }) : null;
    before?.();
  }

  function begin(): void {
    if (active) return;
    active = true;
    document.addEventListener("visibilitychange", follow);
    follow();
  }

  function rest(): void {
    active = false;
    document.removeEventListener("visibilitychange", follow);
    follow();
  }

  watch(topic, follow);
  onMounted(begin);
  onActivated(begin);
  onDeactivated(rest);
  onScopeDispose(rest);
}
