const imf = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;
const rfc850 = /^[A-Z][a-z]+day, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}:\d{2}:\d{2}) GMT$/;
const asctime = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}:\d{2}:\d{2}) (\d{4})$/;

/** One of the three date forms of RFC 9110 §5.6.7, in milliseconds; NaN for anything else. */
export function parseHttpDate(text: string): number {
  if (imf.test(text)) return Date.parse(text);
  const old = rfc850.exec(text);
  if (old !== null) {
    const [, day, month, year, time] = old;
    // Two digits mean the past, unless that would be more than 50 years ago.
    const century = Number(year) > (new Date().getUTCFullYear() % 100) + 50 ? 1900 : 2000;
    return Date.parse(`${day} ${month} ${century + Number(year)} ${time} GMT`);
  }
  const c = asctime.exec(text);
  if (c === null) return Number.NaN;
  return Date.parse(`${c[2]?.trim()} ${c[1]} ${c[4]} ${c[3]} GMT`);
}
