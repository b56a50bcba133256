import { describe, expect, it, vi } from "vitest";
import { effectScope, nextTick, ref } from "vue";
import { useDialogForm } from "@/composables/useDialogForm";
import { Problem } from "@/lib/problem";

vi.mock("@/api/client", () => ({ asProblem: (error: unknown) => error }));

interface Plan {
  title: string;
  day: string;
}

function setUp(send: (plan: Plan) => Promise<void> = () => Promise.resolve()) {
  const open = ref(false);
  const day = ref("2026-11-21");
  const subject = ref("new");
  let saved = 0;
  const made = effectScope().run(() =>
    useDialogForm<Plan>(open, {
      fields: ["title"],
      subject: () => subject.value,
      fresh: () => ({ title: "", day: day.value }),
      check: ({ title }): Record<string, string> => (title ? {} : { title: "missing" }),
      send,
      saved: () => saved++,
    }),
  );
  if (!made) throw new Error("no scope");
  const show = async (shown: boolean): Promise<void> => {
    open.value = shown;
    await nextTick();
  };
  return { ...made, open, day, subject, show, savedTimes: () => saved };
}

describe("a form in a dialog", () => {
  it("has what was typed when it is opened again", async () => {
    const { values, show, day } = setUp();
    await show(true);
    values.title = "支部党员大会";
    await show(false);
    day.value = "2026-11-22";
    await show(true);
    expect(values).toEqual({ title: "支部党员大会", day: "2026-11-21" });
  });

  it("is filled anew where nobody typed, also after a preset", async () => {
    const { values, preset, show, day } = setUp();
    await show(true);
    preset({ title: "the only one there is" });
    await show(false);
    day.value = "2026-11-22";
    await show(true);
    expect(values).toEqual({ title: "", day: "2026-11-22" });
  });

  it("keeps nothing of one subject for another", async () => {
    const { values, show, subject } = setUp();
    await show(true);
    values.title = "typed for a new one";
    await show(false);
    subject.value = "m-1";
    await show(true);
    expect(values.title).toBe("");
  });

  it("closes once it is saved, and begins afresh", async () => {
    const { values, save, show, open, savedTimes } = setUp();
    await show(true);
    values.title = "党课";
    await save();
    expect([open.value, savedTimes()]).toEqual([false, 1]);
    await show(true);
    expect(values.title).toBe("");
  });

  it("stays open with all that was typed when it is refused, and tells only what has no field of its own", async () => {
    const errors = [
      { field: "title", title: "太长" },
      { field: "planned_start", title: "时间格式不对" },
    ];
    const refused = new Problem({ title: "有 2 处需要改正", detail: "", status: 422, code: "fields-invalid", errors });
    const { values, form, save, show, open } = setUp(() => Promise.reject(refused));
    await show(true);
    values.title = "党课";
    await save();
    expect([open.value, values.title, form.errors["title"]]).toEqual([true, "党课", "太长"]);
    expect(form.problem.value?.errors).toEqual([errors[1]]);
  });

  it("is sent once, however often the button is pressed", async () => {
    let sent = 0;
    let answer: () => void = () => undefined;
    const { values, save, show } = setUp(() => {
      sent++;
      return new Promise((resolve) => (answer = resolve));
    });
    await show(true);
    values.title = "党课";
    const first = save();
    await save();
    answer();
    await first;
    expect(sent).toBe(1);
  });
});
