import { getCurrentInstance, onDeactivated, reactive, watch, type Ref } from "vue";
import { useForm, type Form } from "@/composables/useForm";

/** What a form in a dialog is about. */
export interface DialogFormOf<T> {
  /** Fields whose errors have a place in the form, by the names that the service uses. */
  fields: readonly string[];
  /** Whose values are shown: for another one the form is filled anew. */
  subject: () => string;
  /** The values to begin with. */
  fresh: () => T;
  /** Errors that can be told before anything is sent. */
  check: (values: T) => Record<string, string>;
  send: (values: T) => Promise<void>;
  /** Told after it has been saved and closed. */
  saved: () => void;
}

export interface DialogForm<T> {
  values: T;
  form: Form;
  save: () => Promise<void>;
  /** Fills in what follows from the situation; it does not count as typed. */
  preset: (part: Partial<T>) => void;
  /** Closes it, and nothing of what was typed comes back. */
  close: () => void;
}

/**
 * A form in a dialog. What somebody typed is still there when it is closed and opened again, until it has been saved;
 * what nobody touched is filled anew.
 */
export function useDialogForm<T extends object>(open: Ref<boolean>, of: DialogFormOf<T>): DialogForm<T> {
  const values = reactive(of.fresh()) as T;
  const form = useForm(of.fields);
  let subject: string | null = null;
  let filled = "";

  const isTouched = (): boolean => subject !== null && JSON.stringify(values) !== filled;

  function put(part: Partial<T>): void {
    Object.assign(values, part);
    filled = JSON.stringify(values);
  }

  watch(
    open,
    (isOpen) => {
      if (!isOpen) return;
      form.reset();
      if (subject === of.subject() && isTouched()) return;
      subject = of.subject();
      put(of.fresh());
    },
    { immediate: true },
  );

  function preset(part: Partial<T>): void {
    if (isTouched()) Object.assign(values, part);
    else put(part);
  }

  function close(): void {
    subject = null;
    open.value = false;
  }

  async function save(): Promise<void> {
    const saved = await form.submit(
      () => of.check(values),
      () => of.send(values),
    );
    if (!saved) return;
    close();
    of.saved();
  }

  // A page that is kept aside would leave its dialog standing over the next one.
  if (getCurrentInstance()) onDeactivated(() => (open.value = false));
  return { values, form, save, preset, close };
}
