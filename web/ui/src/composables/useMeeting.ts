import { computed, onScopeDispose, ref, shallowRef, watch } from "vue";
import { api, asProblem, take } from "@/api/client";
import type { Meeting, MeetingNow, Note, Timeline } from "@/api/types";
import { useTopic } from "@/composables/useTopic";
import { now } from "@/lib/clock";
import type { TopicEvent } from "@/lib/events";
import type { Problem } from "@/lib/problem";
import type { Interval } from "@/lib/timeline";

/** Events that come together lead to one request. Milliseconds. */
const GATHER_MS = 300;
const RETRY_MS = 3000;

/** One meeting: its page, its timeline, and what changes while it runs. Asked for once, then told by events. */
export function useMeeting(id: () => string) {
  const meeting = shallowRef<Meeting | null>(null);
  const timeline = shallowRef<Timeline | null>(null);
  const live = shallowRef<MeetingNow | null>(null);
  const problem = ref<Problem | null>(null);
  const waiting = ref(true);
  let timer = 0;
  let round = 0;
  let whole = false;

  const path = () => ({ params: { path: { meeting_id: id() } } });

  async function load(all: boolean): Promise<void> {
    window.clearTimeout(timer);
    timer = 0;
    whole = false;
    const mine = ++round;
    try {
      const [found, told] = await Promise.all([
        all || !meeting.value ? take(api.GET("/meetings/{meeting_id}", path())) : meeting.value,
        take(api.GET("/meetings/{meeting_id}/timeline", path())),
      ]);
      if (mine !== round) return;
      meeting.value = found;
      timeline.value = told;
      problem.value = null;
    } catch (error) {
      if (mine !== round) return;
      problem.value = asProblem(error);
      // What cannot be had now is asked for again; what is not there, or not for this person, is not.
      if (problem.value.status === 0 || problem.value.status >= 500) soon(true, RETRY_MS);
    } finally {
      if (mine === round) waiting.value = false;
    }
  }

  function soon(all: boolean, wait = GATHER_MS): void {
    whole ||= all;
    if (!timer) timer = window.setTimeout(() => void load(whole), wait);
  }

  function change(part: Partial<MeetingNow>): void {
    if (live.value) live.value = { ...live.value, ...part };
  }

  function withNote(note: Note): void {
    const known = live.value?.notes.items ?? [];
    const items = known.some((item) => item.id === note.id)
      ? known.map((item) => (item.id === note.id ? note : item))
      : [...known, note];
    change({ notes: { items } });
  }

  function handle(event: TopicEvent): void {
    switch (event.type) {
      case "meeting":
        // The first snapshot says what the page has just been given.
        if (live.value) soon(true);
        live.value = event.data;
        break;
      case "state":
        change({ meeting: event.data });
        soon(true);
        break;
      case "recording":
        change({ recording: event.data });
        soon(true);
        break;
      case "camera":
        change({ camera: event.data });
        soon(true);
        break;
      case "presence":
        change({ presence: event.data });
        break;
      case "talk":
        change({ talk: event.data });
        break;
      case "note":
        withNote(event.data);
        break;
      case "story":
        soon(false);
        break;
    }
  }

  const running = computed(() => meeting.value?.state === "running");

  /** What is on record; while it is being recorded the last stretch grows by itself. */
  const spans = computed<Interval[]>(() => {
    const told = timeline.value;
    if (!told) return [];
    const found = told.spans.map((span) => ({ start: Date.parse(span.starts_at), end: Date.parse(span.ends_at) }));
    const last = found.at(-1);
    const recording = live.value?.recording.state === "recording" && live.value.camera.state === "online";
    if (running.value && recording && !told.gaps.some((gap) => !gap.ends_at && !gap.damaged_only)) {
      if (last) last.end = Math.max(last.end, now.value - GROWS_BEHIND_MS);
    }
    return found;
  });

  // A recording that has just begun has no whole segment yet; nobody tells when its first one is there.
  const begun = computed(() => running.value && live.value?.recording.state === "recording");
  watch(
    () => begun.value && timeline.value !== null && timeline.value.spans.length === 0 && now.value,
    (due) => {
      if (due) soon(false, FIRST_SEGMENT_MS);
    },
  );

  watch(id, () => {
    live.value = null;
    void load(true);
  });
  useTopic(() => `meeting/${id()}`, handle);
  void load(true);
  onScopeDispose(() => {
    round++;
    window.clearTimeout(timer);
  });

  return { meeting, timeline, live, spans, running, problem, waiting, refresh: () => load(true) };
}

/** How far behind now a segment is on record. */
const GROWS_BEHIND_MS = 6000;
const FIRST_SEGMENT_MS = 2500;
