import { computed } from "vue";
import { createI18n } from "vue-i18n";
import en from "@/locales/en.json";
import zhCN from "@/locales/zh-CN.json";

export type Language = "zh-CN" | "en";
export type Messages = typeof zhCN;

const STORED = "sanhui.language";

function initialLanguage(): Language {
  const stored = localStorage.getItem(STORED);
  if (stored === "zh-CN" || stored === "en") return stored;
  // The Chinese interface is the first one: English only for a browser that asks for it and not for Chinese.
  const wanted = navigator.languages.map((language) => language.toLowerCase());
  const chinese = wanted.findIndex((language) => language.startsWith("zh"));
  return chinese < 0 && wanted[0]?.startsWith("en") ? "en" : "zh-CN";
}

export const i18n = createI18n<[Messages], Language, false>({
  legacy: false,
  locale: initialLanguage(),
  fallbackLocale: "zh-CN",
  messages: { "zh-CN": zhCN, en: en as Messages },
});

export const language = computed<Language>(() => i18n.global.locale.value as Language);

export function setLanguage(next: Language): void {
  i18n.global.locale.value = next;
  localStorage.setItem(STORED, next);
  document.documentElement.lang = next;
}

export const t = i18n.global.t;
