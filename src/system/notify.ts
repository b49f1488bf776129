import { monotonicUs, sendDatagram } from "../../ffi/system.ts";

/** What a service manager (systemd) told us at start. */
export interface NotifySettings {
  /** Where to send to: a path, or "@name" for an abstract socket; null: nobody wants to know. */
  readonly address: string | null;
  /** How long we may be silent before we are taken for dead, in milliseconds; 0: for ever. */
  readonly watchdogMs: number;
}

/**
 * Reads what the service manager says in the environment, and removes it: a script, or a program it starts, could
 * otherwise speak in our name.
 */
export function takeNotifySettings(
  env: Record<string, string | undefined> = process.env,
  pid = process.pid,
): NotifySettings {
  const { NOTIFY_SOCKET: address, WATCHDOG_USEC: interval, WATCHDOG_PID: watched } = env;
  delete env["NOTIFY_SOCKET"];
  delete env["WATCHDOG_USEC"];
  delete env["WATCHDOG_PID"];
  // systemd knows other kinds of address too (vsock:…), for virtual machines.
  if (address === undefined || !/^[/@]./.test(address)) return { address: null, watchdogMs: 0 };
  const meant = watched === undefined || watched === String(pid);
  const usec = meant && interval !== undefined && /^\d+$/.test(interval) ? Number(interval) : 0;
  return { address, watchdogMs: Math.floor(usec / 1000) };
}

export interface NotifierOptions {
  /**
   * Asked before each sign of life to the watchdog: does this process do its own work?
   *
   * The watchdog's answer to silence is to kill us with everything that runs. So this is about the front alone, and
   * that its event loop turns is proved by asking at all. A pool that cannot serve is no reason: killing the front
   * would not heal it, and would take the other pools, the static files and the 503s along. Pools go into the status.
   *
   * @default always true
   */
  readonly healthy?: () => boolean;
  /** Called once, when the service manager cannot be reached. */
  readonly onError?: (error: Error) => void;
}

/** Tells the service manager how we are. Silent when there is none. */
export class Notifier {
  readonly #address: string | null;
  readonly #watchdogMs: number;
  readonly #healthy: () => boolean;
  readonly #onError: (error: Error) => void;
  #timer: Timer | undefined;
  #failed = false;
  #status = "";

  constructor({ address, watchdogMs }: NotifySettings, options: NotifierOptions = {}) {
    this.#address = address;
    this.#watchdogMs = watchdogMs;
    this.#healthy = options.healthy ?? (() => true);
    this.#onError = options.onError ?? (() => undefined);
  }

  /** The listeners are open (again, after a reload). The watchdog is fed from the first time on. */
  ready(status: string): void {
    this.#status = status;
    this.#send("READY=1", `STATUS=${oneLine(status)}`);
    this.#startWatchdog();
  }

  /** A reload begins; `ready` tells its end, whether it went well or not. */
  reloading(): void {
    this.#send("RELOADING=1", `MONOTONIC_USEC=${monotonicUs()}`);
  }

  stopping(): void {
    this.#send("STOPPING=1", "STATUS=Stopping");
  }

  /** One line for `systemctl status`. Sent when it has changed. */
  status(text: string): void {
    if (text === this.#status) return;
    this.#status = text;
    this.#send(`STATUS=${oneLine(text)}`);
  }

  /** No more signs of life. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #startWatchdog(): void {
    if (this.#address === null || this.#watchdogMs === 0 || this.#timer !== undefined) return;
    const ping = () => {
      if (this.#healthy()) this.#send("WATCHDOG=1");
    };
    // Half the time, as systemd advises: one late sign of life is no death.
    this.#timer = setInterval(ping, Math.max(1, Math.floor(this.#watchdogMs / 2)));
    this.#timer.unref();
    ping();
  }

  #send(...lines: string[]): void {
    if (this.#address === null) return;
    try {
      sendDatagram(this.#address, lines.join("\n"));
    } catch (error) {
      if (this.#failed) return;
      this.#failed = true;
      this.#onError(error as Error);
    }
  }
}

/** A line break would begin another message. */
function oneLine(text: string): string {
  return text.replaceAll(/\s*[\r\n]+\s*/g, "; ");
}
