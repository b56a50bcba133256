/**
 * The event socket: one WebSocket a page, any number of topics (`docs/events.md`).
 *
 * A connection that breaks is opened again for ever; each topic then goes on behind the last event that was seen, so
 * that nothing is lost and nothing comes twice.
 */
import { readonly, ref } from "vue";
import type { Schemas } from "@/api/client";
import { BASE } from "@/api/client";

export type EventMessage = Schemas["EventMessage"];
/** An event of a topic; what the socket says of itself is not among them. */
export type TopicEvent = Exclude<EventMessage, { type: "hello" | "beat" | "refused" }>;

interface Subscription {
  topic: string;
  watching: boolean;
  handle: (event: TopicEvent) => void;
  refused?: (problem: Schemas["Notice"]) => void;
}

let path = "/events";

/** Names where the socket is; a room's page has one of its own. Before the first subscription. */
export function useSocketAt(next: string): void {
  path = next;
}

/** The service closes with this code when a log-in is over, or a device's rights are. */
const SESSION_OVER = 4401;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** After so long without a subscription the socket is closed. */
const LINGER_MS = 3000;
const DEFAULT_BEAT_S = 15;

const connected = ref(true);

/** False while the socket is lost and being opened again; true before it is first needed. */
export const eventsConnected = readonly(connected);

let onDoubt: () => void = () => undefined;

/** Names who is to find out whether the service still knows this page: the socket itself is not told why it is refused. */
export function whenDoubted(ask: () => void): void {
  onDoubt = ask;
}

const subscriptions = new Set<Subscription>();
const lastSeen = new Map<string, string>();
let socket: WebSocket | null = null;
let failures = 0;
let retryTimer = 0;
let deadTimer = 0;
let lingerTimer = 0;
let beatS = DEFAULT_BEAT_S;

/**
 * Has the events of a topic handed over from now on, beginning with a snapshot.
 *
 * @param watching Whether the person looks at what the topic is about; of a meeting, that is on record.
 * @returns Ends it.
 */
export function subscribe(
  topic: string,
  handle: (event: TopicEvent) => void,
  options: { watching?: boolean; refused?: (problem: Schemas["Notice"]) => void } = {},
): () => void {
  const entry: Subscription = { topic, handle, watching: options.watching ?? true };
  if (options.refused) entry.refused = options.refused;
  subscriptions.add(entry);
  window.clearTimeout(lingerTimer);
  // Whoever comes to a topic that is open already needs a snapshot of their own.
  lastSeen.delete(topic);
  if (socket?.readyState === WebSocket.OPEN) ask(topic);
  else if (!socket) connect();
  return () => {
    if (!subscriptions.delete(entry)) return;
    if (watchers(topic).length > 0) return;
    lastSeen.delete(topic);
    send({ type: "unsubscribe", topic });
    if (subscriptions.size === 0) lingerTimer = window.setTimeout(close, LINGER_MS);
  };
}

function watchers(topic: string): Subscription[] {
  return [...subscriptions].filter((entry) => entry.topic === topic);
}

function ask(topic: string): void {
  const after = lastSeen.get(topic) ?? null;
  send({ type: "subscribe", topic, after, watching: watchers(topic).some((entry) => entry.watching) });
}

function send(message: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function connect(): void {
  window.clearTimeout(retryTimer);
  const address = new URL(`${BASE}${path}`, window.location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const opened = new WebSocket(address);
  socket = opened;
  let welcome = false;
  watchForDeath();
  opened.onopen = () => {
    welcome = true;
    for (const topic of new Set([...subscriptions].map((entry) => entry.topic))) ask(topic);
  };
  opened.onmessage = (message) => {
    if (opened === socket && typeof message.data === "string") take(JSON.parse(message.data) as EventMessage);
  };
  opened.onclose = (event) => {
    if (opened !== socket) return;
    lose();
    if (!welcome || event.code === SESSION_OVER) onDoubt();
  };
}

function watchForDeath(): void {
  window.clearTimeout(deadTimer);
  deadTimer = window.setTimeout(lose, beatS * 2000);
}

function take(message: EventMessage): void {
  watchForDeath();
  connected.value = true;
  failures = 0;
  if (message.type === "hello") beatS = message.beat_s;
  else if (message.type === "refused") {
    for (const entry of watchers(message.topic)) entry.refused?.(message.problem);
  } else if (message.type !== "beat") {
    lastSeen.set(message.topic, message.id);
    for (const entry of watchers(message.topic)) entry.handle(message);
  }
}

function lose(): void {
  const lost = socket;
  socket = null;
  window.clearTimeout(deadTimer);
  lost?.close();
  if (subscriptions.size === 0) return;
  connected.value = false;
  const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures++);
  // A county's desks do not all come back in the same instant.
  retryTimer = window.setTimeout(connect, wait * (0.5 + Math.random()));
}

function close(): void {
  window.clearTimeout(retryTimer);
  window.clearTimeout(deadTimer);
  const open = socket;
  socket = null;
  connected.value = true;
  open?.close();
}
