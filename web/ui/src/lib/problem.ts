/** What went wrong, ready to be shown: every failure of a request becomes one of these. */
export interface FieldError {
  field: string;
  title: string;
}

export interface ProblemDetails {
  title: string;
  status: number;
  detail: string;
  code: string;
  errors?: FieldError[];
  incident?: string | null;
  retry_after_s?: number | null;
}

export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly errors: FieldError[];
  readonly incident: string | null;
  readonly retryAfterS: number | null;

  constructor(details: ProblemDetails) {
    super(details.title);
    this.name = "Problem";
    this.status = details.status;
    this.code = details.code;
    this.title = details.title;
    this.detail = details.detail;
    this.errors = details.errors ?? [];
    this.incident = details.incident ?? null;
    this.retryAfterS = details.retry_after_s ?? null;
  }

  /** The same with these of its errors: the others are told elsewhere. */
  about(errors: FieldError[]): Problem {
    const { title, detail, status, code, incident, retryAfterS } = this;
    return new Problem({ title, detail, status, code, errors, incident, retry_after_s: retryAfterS });
  }
}

/** True for a body that has the shape of RFC 9457 problem details as our service sends them. */
export function isProblemDetails(body: unknown): body is ProblemDetails {
  return typeof body === "object" && body !== null && "code" in body && "title" in body && "detail" in body;
}
