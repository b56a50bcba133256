import { readonly, ref } from "vue";

const STORED = "sanhui.area";
const chosen = ref<string | null>(sessionStorage.getItem(STORED));

/** The organization that lists are limited to; null is everything the person may see. */
export const area = readonly(chosen);

const changes = ref(0);

/** Counts how often organizations were added, named anew or removed on this page. */
export const organizationChanges = readonly(changes);

export function tellOrganizationsChanged(): void {
  changes.value++;
}

export function chooseArea(organizationId: string | null): void {
  chosen.value = organizationId;
  if (organizationId) sessionStorage.setItem(STORED, organizationId);
  else sessionStorage.removeItem(STORED);
}
