import { reactive, ref, type Ref } from "vue";
import { networkProblem } from "@/api/client";
import { Problem } from "@/lib/problem";

export interface Form {
  /** Sentence to show at a field, by the field's name as the service knows it. */
  errors: Record<string, string>;
  /** What went wrong apart from single fields. */
  problem: Ref<Problem | null>;
  sending: Ref<boolean>;
  /** Checks, then sends. What was typed stays where it is, whatever the answer. True where it succeeded. */
  submit: (check: () => Record<string, string>, send: () => Promise<void>) => Promise<boolean>;
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
      const raised = error instanceof Problem ? error : networkProblem();
      const elsewhere = raised.errors.filter((entry) => {
        const field = fields.find((name) => entry.field === name || entry.field.startsWith(`${name}.`));
        if (field) errors[field] = entry.title;
        return !field;
      });
      if (raised.errors.length === 0 || elsewhere.length > 0) problem.value = raised;
      return false;
    } finally {
      sending.value = false;
    }
  }

  return { errors, problem, sending, submit, reset };
}
