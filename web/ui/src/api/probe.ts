import { BASE, commonHeaders, networkProblem, problemOf, send } from "@/api/client";
import type { ProbeEvent, ProbeRequest } from "@/api/types";
import { readNdjson } from "@/lib/ndjson";

/**
 * Tests a camera and gives the steps as they happen.
 *
 * @throws Problem where the test cannot begin or the connection to the service breaks.
 */
export async function* probe(request: ProbeRequest, signal: AbortSignal): AsyncGenerator<ProbeEvent> {
  let response: Response;
  try {
    response = await send(
      new Request(`${BASE}/cameras/probe`, {
        method: "POST",
        headers: { ...commonHeaders("POST"), "Content-Type": "application/json", Accept: "application/x-ndjson" },
        body: JSON.stringify(request),
        credentials: "same-origin",
        signal,
      }),
    );
  } catch (error) {
    if (signal.aborted) throw error;
    throw networkProblem();
  }
  if (!response.ok || !response.body) throw problemOf(response, await response.json().catch(() => null));
  try {
    yield* readNdjson<ProbeEvent>(response.body);
  } catch (error) {
    if (signal.aborted) throw error;
    throw networkProblem();
  }
}
