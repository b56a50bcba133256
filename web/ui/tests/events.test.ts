import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { subscribe, whenDoubted } from "@/lib/events";

vi.mock("@/api/client", () => ({ BASE: "/api/v1" }));

class Socket {
  static readonly OPEN = 1;
  static opened: Socket[] = [];
  readyState = 0;
  onopen: () => void = () => undefined;
  onmessage: (message: { data: string }) => void = () => undefined;
  onclose: (event: { code: number }) => void = () => undefined;

  constructor() {
    Socket.opened.push(this);
  }

  send(): void {
    return;
  }

  close(): void {
    return;
  }

  welcome(): void {
    this.readyState = Socket.OPEN;
    this.onopen();
    this.onmessage({ data: JSON.stringify({ type: "hello", at: "", beat_s: 15 }) });
  }

  end(code: number): void {
    this.readyState = 3;
    this.onclose({ code });
  }
}

describe("a socket that is refused", () => {
  let asked = 0;
  let leave: () => void = () => undefined;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("WebSocket", Socket);
    vi.stubGlobal("window", {
      location: { href: "http://desk.example/room" },
      setTimeout: setTimeout.bind(globalThis),
      clearTimeout: clearTimeout.bind(globalThis),
    });
    Socket.opened = [];
    asked = 0;
    whenDoubted(() => asked++);
    leave = subscribe("room/s1", () => undefined);
  });

  afterEach(() => {
    leave();
    vi.runAllTimers();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("has the page ask whether it is still known", () => {
    const first = Socket.opened[0];
    first?.welcome();
    first?.end(4401);
    expect(asked).toBe(1);
    vi.advanceTimersByTime(20_000);
    expect(Socket.opened.length).toBe(2);
    // The handshake is answered with 401, which a page is not told.
    Socket.opened[1]?.end(1006);
    expect(asked).toBe(2);
  });

  it("asks nothing when the network is lost or the service restarts", () => {
    const first = Socket.opened[0];
    first?.welcome();
    first?.end(1001);
    expect(asked).toBe(0);
    vi.advanceTimersByTime(20_000);
    Socket.opened[1]?.welcome();
    Socket.opened[1]?.end(1006);
    expect(asked).toBe(0);
  });
});
