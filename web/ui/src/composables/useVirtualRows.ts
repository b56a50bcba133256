import { computed, onMounted, onScopeDispose, ref, type ComputedRef, type Ref } from "vue";
import { visibleRows } from "@/lib/virtual";

export interface VirtualRows {
  first: ComputedRef<number>;
  last: ComputedRef<number>;
  /** Pixels above the first row drawn. */
  above: ComputedRef<number>;
  /** Pixels below the last row drawn. */
  below: ComputedRef<number>;
}

/** Which of many rows of one height must be drawn, as the window scrolls over `container`. */
export function useVirtualRows(
  container: Ref<HTMLElement | null>,
  count: Ref<number>,
  rowHeight: Ref<number>,
): VirtualRows {
  const top = ref(0);
  const height = ref(window.innerHeight);

  function measure(): void {
    height.value = window.innerHeight;
    if (container.value) top.value = -container.value.getBoundingClientRect().top;
  }

  onMounted(() => {
    measure();
    window.addEventListener("scroll", measure, { passive: true });
    window.addEventListener("resize", measure, { passive: true });
  });
  onScopeDispose(() => {
    window.removeEventListener("scroll", measure);
    window.removeEventListener("resize", measure);
  });

  const range = computed(() => visibleRows(top.value, height.value, rowHeight.value, count.value));
  return {
    first: computed(() => range.value.first),
    last: computed(() => range.value.last),
    above: computed(() => range.value.first * rowHeight.value),
    below: computed(() => Math.max(0, (count.value - range.value.last) * rowHeight.value)),
  };
}
