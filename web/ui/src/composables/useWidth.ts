import { onScopeDispose, ref } from "vue";

/** Whether the window has the width of a phone, as the style sheets see it. */
export function useWidth() {
  const query = window.matchMedia("(max-width: 760px)");
  const narrow = ref(query.matches);
  const update = (): void => {
    narrow.value = query.matches;
  };
  query.addEventListener("change", update);
  onScopeDispose(() => query.removeEventListener("change", update));
  return { narrow };
}
