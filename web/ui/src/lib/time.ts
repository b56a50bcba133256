/**
 * Times and durations as LOOK asks for them: 今天 19:02, 11月21日 周六 19:02, 1 小时 12 分.
 *
 * All functions are pure: the moment, "now", the language and the time zone are handed in.
 */
export interface Locale {
  language: "zh-CN" | "en";
  timeZone: string;
}

interface Parts {
  year: number;
  month: number;
  day: number;
  hour: string;
  minute: string;
  second: string;
  weekday: number;
}

const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(timeZone: string): Intl.DateTimeFormat {
  let made = formatters.get(timeZone);
  if (!made) {
    made = new Intl.DateTimeFormat("en-GB", {
      timeZone,
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      hourCycle: "h23",
    });
    formatters.set(timeZone, made);
  }
  return made;
}

function partsOf(moment: number, timeZone: string): Parts {
  const found: Record<string, string> = {};
  for (const part of formatter(timeZone).formatToParts(moment)) found[part.type] = part.value;
  const [year, month, day] = [Number(found.year), Number(found.month), Number(found.day)];
  return {
    year,
    month,
    day,
    hour: found.hour ?? "00",
    minute: found.minute ?? "00",
    second: found.second ?? "00",
    weekday: new Date(Date.UTC(year, month - 1, day)).getUTCDay(),
  };
}

const WEEKDAYS_ZH = ["周日", "周一", "周二", "周三", "周四", "周五", "周六"];
const WEEKDAYS_EN = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS_EN = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** `2026-11-21` of a moment in the zone. */
export function dayOf(moment: number, timeZone: string): string {
  const { year, month, day } = partsOf(moment, timeZone);
  return `${year}-${String(month).padStart(2, "0")}-${String(day).padStart(2, "0")}`;
}

/** Whether an address names a day that there is, such as `2026-11-21`. */
export function isDay(text: unknown): text is string {
  if (typeof text !== "string" || !/^\d{4}-\d{2}-\d{2}$/.test(text)) return false;
  const moment = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(moment) && new Date(moment).toISOString().startsWith(text);
}

/** The day `count` days after `day` (`YYYY-MM-DD`); calendar arithmetic, no zone involved. */
export function addDays(day: string, count: number): string {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + count);
  return date.toISOString().slice(0, 10);
}

/** 0 (Sunday) to 6 of a day (`YYYY-MM-DD`). */
export function weekdayOf(day: string): number {
  return new Date(`${day}T00:00:00Z`).getUTCDay();
}

/** 周六 / Sat. */
export function formatWeekday(day: string, language: Locale["language"]): string {
  return (language === "zh-CN" ? WEEKDAYS_ZH : WEEKDAYS_EN)[weekdayOf(day)] ?? "";
}

/** `19:02`, or `19:02:45` with seconds. */
export function formatClock(moment: number, timeZone: string, seconds = false): string {
  const { hour, minute, second } = partsOf(moment, timeZone);
  return seconds ? `${hour}:${minute}:${second}` : `${hour}:${minute}`;
}

/** 今天, 昨天, 明天, else 11月21日 周六; with the year where it is another one. */
export function formatDay(day: string, today: string, language: Locale["language"]): string {
  const chinese = language === "zh-CN";
  if (day === today) return chinese ? "今天" : "today";
  if (day === addDays(today, -1)) return chinese ? "昨天" : "yesterday";
  if (day === addDays(today, 1)) return chinese ? "明天" : "tomorrow";
  return formatDate(day, today, language);
}

/** 11月21日 周六, with the year where it is another one than today's. */
export function formatDate(day: string, today: string, language: Locale["language"]): string {
  const [year, month, date] = day.split("-").map(Number) as [number, number, number];
  const otherYear = year !== Number(today.slice(0, 4));
  const weekday = formatWeekday(day, language);
  if (language === "zh-CN") return `${otherYear ? `${year}年` : ""}${month}月${date}日 ${weekday}`;
  return `${weekday} ${date} ${MONTHS_EN[month - 1]}${otherYear ? ` ${year}` : ""}`;
}

/** 今天 19:02, 11月21日 周六 19:02; 今天 19:02:45 with seconds. */
export function formatMoment(moment: number, now: number, locale: Locale, seconds = false): string {
  const day = dayOf(moment, locale.timeZone);
  const today = dayOf(now, locale.timeZone);
  return `${formatDay(day, today, locale.language)} ${formatClock(moment, locale.timeZone, seconds)}`;
}

/** As {@link formatMoment}, without the day where it is today: 19:02. */
export function formatSince(moment: number, now: number, locale: Locale): string {
  const today = dayOf(now, locale.timeZone);
  if (dayOf(moment, locale.timeZone) === today) return formatClock(moment, locale.timeZone);
  return formatMoment(moment, now, locale);
}

/** 45 秒, 32 分钟, 1 小时 12 分, 3 天 4 小时. Never below zero. */
export function formatDuration(milliseconds: number, language: Locale["language"]): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const chinese = language === "zh-CN";
  if (seconds < 60) return chinese ? `${seconds} 秒` : `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return chinese ? `${minutes} 分钟` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) {
    const rest = minutes % 60;
    if (rest === 0) return chinese ? `${hours} 小时` : `${hours} h`;
    return chinese ? `${hours} 小时 ${rest} 分` : `${hours} h ${rest} min`;
  }
  const days = Math.floor(hours / 24);
  const rest = hours % 24;
  if (rest === 0) return chinese ? `${days} 天` : `${days} d`;
  return chinese ? `${days} 天 ${rest} 小时` : `${days} d ${rest} h`;
}

/** A position in a recording: `4:05`, `1:12:09`. */
export function formatPosition(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const pad = (value: number): string => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}` : `${minutes}:${pad(seconds % 60)}`;
}

/**
 * The moment of a wall-clock time (`2026-11-21`, `19:02`) in a zone. Unix milliseconds.
 *
 * The offset is found by asking what the guess shows in the zone; one correction is exact outside the hour of a change.
 */
export function momentOf(day: string, clock: string, timeZone: string): number {
  const asUtc = Date.parse(`${day}T${clock.length === 5 ? `${clock}:00` : clock}Z`);
  const shown = partsOf(asUtc, timeZone);
  const shownUtc = Date.UTC(
    shown.year,
    shown.month - 1,
    shown.day,
    Number(shown.hour),
    Number(shown.minute),
    Number(shown.second),
  );
  return asUtc - (shownUtc - asUtc);
}
