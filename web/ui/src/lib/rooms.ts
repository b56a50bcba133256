/** The rooms that can be seen now, in the order in which one goes through them. Pure. */
import type { NowCard } from "@/api/types";

/** Meetings first; rooms whose camera is away and that have nothing on are left out. `area` is a town or a village. */
export function roomsToSee(cards: readonly NowCard[], area: string | null): NowCard[] {
  const mine = cards.filter((card) => !area || card.town?.id === area || card.village.id === area);
  return [...mine.filter((card) => card.meeting), ...mine.filter((card) => !card.meeting && card.online)];
}

/** The page of a room: its meeting's where one is on. */
export function pageOf(card: NowCard) {
  return card.meeting
    ? { name: "meeting", params: { meetingId: card.meeting.id } }
    : { name: "room", params: { cameraId: card.camera.id } };
}

/** So many rooms on from the one that is seen, round and round; null where there is no other. */
export function roomBeside(rooms: readonly NowCard[], seen: string | null, step: 1 | -1): NowCard | null {
  const at = rooms.findIndex((card) => card.camera.id === seen || card.meeting?.id === seen);
  const from = at < 0 && step < 0 ? 0 : at;
  const found = rooms[(from + step + rooms.length) % rooms.length] ?? null;
  return at >= 0 && found === rooms[at] ? null : found;
}
