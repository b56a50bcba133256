import { shallowRef, watch, type Ref, type ShallowRef } from "vue";
import type { Form } from "@/composables/useForm";

/** What a form lets people choose from: asked for whenever it opens. Null until the first answer. */
export function useChoices<T>(open: Ref<boolean>, form: Form, load: () => Promise<T>): ShallowRef<T | null> {
  const found = shallowRef<T | null>(null);
  watch(
    open,
    async (isOpen) => {
      if (!isOpen) return;
      try {
        found.value = await load();
      } catch (error) {
        form.fail(error);
      }
    },
    { immediate: true },
  );
  return found;
}
