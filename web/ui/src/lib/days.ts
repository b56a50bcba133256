import type { MeetingSummary } from "@/api/types";
import { dayOf } from "@/lib/time";

/** Meetings under the days on which they began or were to begin, in the order in which they come. */
export function byDay(meetings: MeetingSummary[], zone: string): { day: string; meetings: MeetingSummary[] }[] {
  const days: { day: string; meetings: MeetingSummary[] }[] = [];
  for (const meeting of meetings) {
    const day = dayOf(Date.parse(meeting.planned_start ?? meeting.started_at ?? ""), zone);
    const last = days.at(-1);
    if (last?.day === day) last.meetings.push(meeting);
    else days.push({ day, meetings: [meeting] });
  }
  return days;
}
