import { describe, expect, it } from "vitest";
import type { NowCard } from "@/api/types";
import { pageOf, roomBeside, roomsToSee } from "@/lib/rooms";

function room(id: string, meeting: string | null, online = true, town = "t"): NowCard {
  const card = {
    camera: { id },
    village: { id: `v-${id}` },
    town: { id: town },
    meeting: meeting && { id: meeting },
    online,
  };
  return card as unknown as NowCard;
}

const ALL = [room("a", null), room("b", "m"), room("c", null, false), room("d", null, true, "other")];

describe("going from room to room", () => {
  it("begins with meetings, and leaves out what shows nothing", () => {
    expect(roomsToSee(ALL, "").map((card) => card.camera.id)).toEqual(["b", "a", "d"]);
    expect(roomsToSee(ALL, "t").map((card) => card.camera.id)).toEqual(["b", "a"]);
  });

  it("goes round and round, from a room or from its meeting", () => {
    const rooms = roomsToSee(ALL, "");
    const seen = (from: string | null, step: 1 | -1) => roomBeside(rooms, from, step)?.camera.id ?? null;
    expect([seen("m", 1), seen("b", 1), seen("d", 1), seen("m", -1)]).toEqual(["a", "a", "b", "d"]);
    expect([seen("gone", 1), seen(null, -1)]).toEqual(["b", "d"]);
    expect(roomBeside(rooms.slice(0, 1), "m", 1)).toBeNull();
    expect(roomBeside([], "m", 1)).toBeNull();
  });

  it("leads to the meeting where one is on", () => {
    expect(roomsToSee(ALL, "t").map((card) => pageOf(card).name)).toEqual(["meeting", "room"]);
  });
});
