import { computed, readonly, ref } from "vue";
import { api, setCsrfToken, take } from "@/api/client";
import type { About, Session, SessionUser } from "@/api/types";
import { language, setLanguage, type Language } from "@/i18n";
import { chooseArea } from "@/lib/area";
import { Problem } from "@/lib/problem";

const current = ref<Session | null>(null);
let wish: Language | null = null;
const over = ref(false);
const about = ref<About | null>(null);

/** Who is logged in. */
export const user = computed<SessionUser | null>(() => current.value?.user ?? null);

/** Whether the log-in is over while the person's page is still open, with all that was typed into it. */
export const lapsed = readonly(over);

/** What the service says of itself before anybody is logged in. */
export const service = readonly(about);

/** Zone that times are shown in. */
export const timeZone = computed(() => about.value?.time_zone ?? "Asia/Shanghai");

/** Language and zone for the functions of `lib/time`. */
export const locale = computed(() => ({ language: language.value, timeZone: timeZone.value }));

/** Whether the person may do something, such as `cameras:write`. */
export function may(scope: string): boolean {
  return user.value?.scopes.includes(scope) ?? false;
}

/** Takes over a session that the service has just given. */
export function adopt(session: Session): void {
  current.value = session;
  over.value = false;
  setCsrfToken(session.csrf_token);
  localStorage.setItem(HINT, "1");
  setLanguage(session.user.language);
}

/** The service knows the session no longer; the person may go on with it after another log-in. */
export function lapse(): void {
  over.value = current.value !== null;
}

/**
 * Takes over the session that the browser has now: the person may have logged in again on another page. Where it is
 * somebody else's, this page asks for its own person. True if it was taken over.
 */
export async function recognise(): Promise<boolean> {
  if (!current.value) return false;
  const session = await take(api.GET("/session"));
  const isOurs = session.user.id === current.value.user.id;
  if (isOurs) adopt(session);
  else lapse();
  return isOurs;
}

/** Forgets the session on this page, and the area its person looked at; the service is not told. */
export function forget(): void {
  current.value = null;
  over.value = false;
  resumed = null;
  setCsrfToken("");
  localStorage.removeItem(HINT);
  chooseArea(null);
}

export async function loadAbout(): Promise<About> {
  about.value = await take(api.GET("/about"));
  return about.value;
}

// A browser in which nobody has logged in needs not be asked about: the cookie itself cannot be read by a page.
const HINT = "sanhui.session";

let resumed: Promise<boolean> | null = null;

/** Asks once whether the browser's cookie is a session. True where somebody is logged in. */
export function resume(): Promise<boolean> {
  if (!localStorage.getItem(HINT)) return Promise.resolve(false);
  resumed ??= (async () => {
    try {
      // Times are shown in the service's zone, so it is known before the first of them.
      const zone = about.value ?? loadAbout().catch(() => null);
      adopt(await take(api.GET("/session")));
      await zone;
      return true;
    } catch (error) {
      if (error instanceof Problem && (error.status === 401 || error.status === 403)) {
        forget();
        return false;
      }
      resumed = null;
      throw error;
    }
  })();
  return resumed;
}

export async function logIn(username: string, password: string): Promise<void> {
  adopt(await take(api.POST("/session", { body: { username, password } })));
  // Who has just chosen a language on the way in means it, whatever the account says.
  const wanted = wish;
  wish = null;
  if (wanted && wanted !== language.value) await chooseLanguage(wanted);
}

export async function logOut(): Promise<void> {
  try {
    await take(api.DELETE("/session"));
  } finally {
    forget();
  }
}

/** Changes the language at once, and for the person where somebody is logged in. */
export async function chooseLanguage(next: Language): Promise<void> {
  setLanguage(next);
  if (!current.value || over.value) wish = next;
  else adopt(await take(api.PUT("/session", { body: { language: next } })));
}
