import { onScopeDispose, ref, shallowRef, type Ref, type ShallowRef } from "vue";
import type { Now, Notice } from "@/api/types";
import { useTopic } from "@/composables/useTopic";
import type { TopicEvent } from "@/lib/events";

export interface NowPicture {
  /** What the first page shows; null until it has come. */
  data: ShallowRef<Now | null>;
  /** Why it may not be seen. */
  refusal: Ref<Notice | null>;
}

/** All rooms of the person's area as they are, kept fresh by events. */
export function useNow(): NowPicture {
  const data = shallowRef<Now | null>(null);
  const refusal = ref<Notice | null>(null);
  let frame = 0;
  let next: Now | null = null;

  // A county that begins at one minute brings hundreds of cards at once; they are drawn together.
  function put(now: Now): void {
    next = now;
    if (!frame) {
      frame = window.setTimeout(() => {
        frame = 0;
        data.value = next;
      }, 50);
    }
  }

  function take(event: TopicEvent): void {
    const known = next ?? data.value;
    if (event.type === "now") {
      next = event.data;
      data.value = event.data;
    } else if (!known) return;
    else if (event.type === "notices") put({ ...known, notices: event.data });
    else if (event.type === "card") {
      const card = event.data;
      const others = known.cards.some((item) => item.camera.id === card.camera.id)
        ? known.cards.map((item) => (item.camera.id === card.camera.id ? card : item))
        : [...known.cards, card];
      put({ ...known, cards: others });
    }
  }

  useTopic(
    () => "now",
    take,
    (problem) => (refusal.value = problem),
  );
  onScopeDispose(() => window.clearTimeout(frame));
  return { data, refusal };
}
