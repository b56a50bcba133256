import { readonly, ref } from "vue";

const STORED = "sanhui.theme";
const isDark = ref(document.documentElement.classList.contains("dark"));

export const dark = readonly(isDark);

export function chooseTheme(next: "light" | "dark"): void {
  isDark.value = next === "dark";
  document.documentElement.classList.toggle("dark", isDark.value);
  localStorage.setItem(STORED, next);
}
