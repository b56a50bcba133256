import { computed, ref, shallowRef } from "vue";
import type { Camera, Notice } from "@/api/types";
import { useTopic } from "@/composables/useTopic";
import type { TopicEvent } from "@/lib/events";

/** So many values of a bit rate make a sparkline. */
const HISTORY = 30;

/** Cameras as they are, kept fresh by events: all of an area, or one. */
export function useCameras(topic: () => string | null) {
  const items = shallowRef<readonly Camera[] | null>(null);
  const refusal = ref<Notice | null>(null);

  function each<T extends { id: string }>(changes: readonly T[], change: (camera: Camera, to: T) => Camera): void {
    const found = new Map(changes.map((entry) => [entry.id, entry]));
    items.value = (items.value ?? []).map((camera) => {
      const to = found.get(camera.id);
      return to ? change(camera, to) : camera;
    });
  }

  function take(event: TopicEvent): void {
    if (event.type === "cameras") {
      items.value = event.data.items;
      refusal.value = null;
    } else if (event.type === "standings") {
      each(event.data, (camera, { status, meeting }) => ({ ...camera, status, meeting }));
    } else if (event.type === "numbers") {
      each(event.data, (camera, { fps, bitrate_bps, packets_received, packets_lost, loss_ratio }) => {
        const { video, bitrate_history_bps: before } = camera.status;
        const bitrate_history_bps = [...before, bitrate_bps].slice(-HISTORY);
        const numbers = { bitrate_bps, bitrate_history_bps, packets_received, packets_lost, loss_ratio };
        return { ...camera, status: { ...camera.status, ...numbers, video: video && { ...video, fps } } };
      });
    }
  }

  useTopic(topic, take, (problem) => (refusal.value = problem));
  return { items, refusal, waiting: computed(() => items.value === null && refusal.value === null) };
}
