import { computed, readonly, ref } from "vue";
import { api, setCsrfToken, take } from "@/api/client";
import type { About, Session, SessionUser } from "@/api/types";
import { language, setLanguage, type Language } from "@/i18n";
import { Problem } from "@/lib/problem";

const current = ref<Session | null>(null);
let wish: Language | null = null;
const about = ref<About | null>(null);

/** Who is logged in. */
export const user = computed<SessionUser | null>(() => current.value?.user ?? null);

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
  setCsrfToken(session.csrf_token);
  localStorage.setItem(HINT, "1");
  setLanguage(session.user.language);
}

/** Forgets the session on this page; the service is not told. */
export function forget(): void {
  current.value = null;
  setCsrfToken("");
  localStorage.removeItem(HINT);
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
      adopt(await take(api.GET("/session")));
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
  if (!current.value) wish = next;
  if (current.value) adopt(await take(api.PUT("/session", { body: { language: next } })));
}
