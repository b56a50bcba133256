import { onScopeDispose } from "vue";
import { useTopic } from "@/composables/useTopic";

/** Asks anew when some meeting is another than it was; also when the page is come back to, or the connection. */
export function useMeetingChanges(refresh: () => void): void {
  // A county that begins at one minute changes many meetings at once; and not every desk asks in the same instant.
  let timer = 0;
  useTopic(
    () => "meetings",
    () => {
      window.clearTimeout(timer);
      timer = window.setTimeout(refresh, 300 + Math.random() * 900);
    },
  );
  onScopeDispose(() => window.clearTimeout(timer));
}
