import { reactive, ref, type Ref } from "vue";
import { asProblem } from "@/api/client";
import type { Problem } from "@/lib/problem";

export interface Form {
  /** Sentence to show at a field, by the field's name as the service knows it. */
  errors: Record<string, string>;
  /** What went wrong apart from single fields. */
  problem: Ref<Problem | null>;
  sending: Ref<boolean>;
  /** Checks, then sends. What was typed stays where it is, whatever the answer. True where it succeeded. */
  submit: (check: () => Record<string, string>, send: () => Promise<void>) => Promise<boolean>;
  /** Tells of something else that went wrong: what to choose from did not come, or could not be removed. */
  fail: (error: unknown) => void;
  reset: () => void;
}

/** The state of one form: errors at their fields, the problem of the whole, and whether it is under way. */
export function useForm(fields: readonly string[]): Form {
  const errors = reactive<Record<string, string>>({});
  const problem = ref<Problem | null>(null);
  const sending = ref(false);

  function reset(): void {
    for (const field of Object.keys(errors)) errors[field] = "";
    problem.value = null;
  }

  async function submit(check: () => Record<string, string>, send: () => Promise<void>): Promise<boolean> {
    if (sending.value) return false;
    reset();
    const found = check();
    if (Object.keys(found).length > 0) {
      Object.assign(errors, found);
      return false;
    }
    sending.value = true;
    try {
      await send();
      return true;
    } catch (error) {
      const raised = asProblem(error);
      // A log-in that is over is asked for anew on top of the page: nothing is wrong with what was typed.
      if (raised.code === "not-logged-in") return false;
      const elsewhere = raised.errors.filter((entry) => {
        const field = fields.find((name) => entry.field === name || entry.field.startsWith(`${name}.`));
        if (field) errors[field] = entry.title;
        return !field;
      });
      if (raised.errors.length === 0 || elsewhere.length > 0) problem.value = raised.about(elsewhere);
      return false;
    } finally {
      sending.value = false;
    }
  }

  function fail(error: unknown): void {
    problem.value = asProblem(error);
  }

  return { errors, problem, sending, submit, fail, reset };
}
