import { computed, onScopeDispose, ref, shallowRef } from "vue";
import { api, setCsrfToken, take } from "@/api/client";
import type { Note, Room } from "@/api/types";
import { useTopic } from "@/composables/useTopic";
import { useSocketAt, whenDoubted } from "@/lib/events";
import { Problem } from "@/lib/problem";

const AGAIN_MS = 3000;
const HOLD_S = 20;

/** Where a room's page stands: looking for its room, showing a code, or paired. */
export type RoomStage = "opening" | "pairing" | "paired";

/** Whether the service says that it knows no such room or device (any more). */
function isUnknown(error: unknown): boolean {
  return error instanceof Problem && [401, 403, 404].includes(error.status);
}

/** A TV's page: paired once by a code, then told everything by events. It heals by itself, whatever happens. */
export function useRoom() {
  const stage = ref<RoomStage>("opening");
  const code = ref("");
  const room = shallowRef<Room | null>(null);
  /** False while the service cannot be reached. */
  const reachable = ref(true);
  const answering = ref("");
  const shown = new Set<string>();
  let over = false;
  let timer = 0;

  const wait = (milliseconds: number): Promise<void> =>
    new Promise((resolve) => {
      timer = window.setTimeout(resolve, milliseconds);
    });

  async function live(): Promise<void> {
    while (!over) {
      try {
        await enter();
        reachable.value = true;
        return;
      } catch (error) {
        reachable.value = !(error instanceof Problem) || (error.status > 0 && error.status < 500);
      }
      await wait(AGAIN_MS * (0.7 + 0.6 * Math.random()));
    }
  }

  async function enter(): Promise<void> {
    while (!over) {
      try {
        const found = await take(api.GET("/room"));
        setCsrfToken(found.csrf_token ?? "");
        code.value = "";
        // Known under its topic before it is shown, so that the first event finds its place.
        room.value = found;
        stage.value = "paired";
        return;
      } catch (error) {
        if (!isUnknown(error)) throw error;
      }
      room.value = null;
      stage.value = "pairing";
      await pair();
    }
  }

  async function pair(): Promise<void> {
    const begun = await take(api.POST("/room/pairing"));
    reachable.value = true;
    code.value = begun.code ?? "";
    let state = begun.state;
    while (state === "waiting" && !over) {
      const held = await take(api.GET("/room/pairing", { params: { query: { wait_s: HOLD_S } } }));
      state = held.state;
    }
  }

  async function say(note: Note, what: "shown" | "answer"): Promise<void> {
    await take(api.POST(`/room/notes/{note_id}/${what}`, { params: { path: { note_id: note.id } } }));
  }

  async function answer(note: Note): Promise<void> {
    if (answering.value) return;
    answering.value = note.id;
    try {
      await say(note, "answer");
      if (room.value) room.value = { ...room.value, notes: room.value.notes.filter((item) => item.id !== note.id) };
    } catch {
      // It stays on the screen and can be answered again.
    } finally {
      answering.value = "";
    }
  }

  function noticed(note: Note): void {
    if (shown.has(note.id) || note.shown_at) return;
    shown.add(note.id);
    say(note, "shown").catch(() => shown.delete(note.id));
  }

  /** Its rights were taken away: a code is shown again. */
  function reopen(): void {
    if (stage.value !== "paired") return;
    room.value = null;
    stage.value = "opening";
    void live();
  }

  useSocketAt("/room/events");
  whenDoubted(() => {
    if (stage.value === "paired") take(api.GET("/room")).catch((error: unknown) => isUnknown(error) && reopen());
  });
  useTopic(
    () => (stage.value === "paired" ? (room.value?.topic ?? null) : null),
    (event) => {
      if (event.type !== "room") return;
      const device = room.value?.device ?? null;
      room.value = { ...event.data, device };
    },
    reopen,
  );
  void live();
  onScopeDispose(() => {
    over = true;
    window.clearTimeout(timer);
  });

  return {
    stage,
    code,
    room,
    reachable,
    answering,
    note: computed(() => room.value?.notes[0] ?? null),
    answer,
    noticed,
  };
}
