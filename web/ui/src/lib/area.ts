import { readonly, ref } from "vue";

const STORED = "sanhui.area";
const chosen = ref<string | null>(sessionStorage.getItem(STORED));

/** The organization that lists are limited to; null is everything the person may see. */
export const area = readonly(chosen);

export function chooseArea(organizationId: string | null): void {
  chosen.value = organizationId;
  if (organizationId) sessionStorage.setItem(STORED, organizationId);
  else sessionStorage.removeItem(STORED);
}
