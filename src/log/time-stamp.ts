const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const two = (part: number): string => (part < 10 ? `0${part}` : String(part));

/** The time of day as log lines want it, made once per second. */
export class TimeStamp {
  #second = -1;
  #common = "";
  #iso = "";

  /** `10/Oct/2026:13:55:36 +0200` */
  common(nowMs: number): string {
    this.#refresh(nowMs);
    return this.#common;
  }

  /** `2026-10-10T13:55:36.042+02:00` */
  iso(nowMs: number): string {
    this.#refresh(nowMs);
    const ms = nowMs % 1000;
    const zone = this.#iso.slice(19);
    return `${this.#iso.slice(0, 19)}.${ms < 10 ? "00" : ms < 100 ? "0" : ""}${ms}${zone}`;
  }

  #refresh(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    if (second === this.#second) return;
    this.#second = second;
    const now = new Date(second * 1000);
    const offset = -now.getTimezoneOffset();
    const sign = offset < 0 ? "-" : "+";
    const zoneHours = two(Math.floor(Math.abs(offset) / 60));
    const zoneMinutes = two(Math.abs(offset) % 60);
    const clock = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
    const day = two(now.getDate());
    this.#common = `${day}/${MONTHS[now.getMonth()] ?? ""}/${now.getFullYear()}:${clock} ${sign}${zoneHours}${zoneMinutes}`;
    this.#iso = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${day}T${clock}${sign}${zoneHours}:${zoneMinutes}`;
  }
}
