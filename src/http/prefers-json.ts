import { quality } from "./quality-value.ts";

interface Preference {
  weight: number;
  /** How exactly the type is named: 0 for any type at all, 1 for a family such as `text/*`, 2 in full. */
  specificity: number;
  /** Place in the header, for ties. */
  place: number;
}

/**
 * True when a client would rather have JSON than HTML. Where the weights are equal, the type named more exactly
 * wins, then the one named first; someone who takes anything gets HTML.
 */
export function prefersJson(accept: string | null): boolean {
  if (accept === null || !/json/i.test(accept)) return false;
  const json = best(accept, (type) => /^application\/(?:[\w.-]+\+)?json$/.test(type), "application/*");
  const html = best(accept, (type) => type === "text/html" || type === "application/xhtml+xml", "text/*");
  if (json.weight !== html.weight) return json.weight > html.weight;
  if (json.weight === 0) return false;
  if (json.specificity !== html.specificity) return json.specificity > html.specificity;
  return json.place < html.place;
}

function best(accept: string, isNamed: (type: string) => boolean, family: string): Preference {
  let found: Preference = { weight: 0, specificity: -1, place: 0 };
  let place = 0;
  for (const element of accept.split(",")) {
    const [name = "", ...parameters] = element.split(";");
    const type = name.trim().toLowerCase();
    const specificity = isNamed(type) ? 2 : type === family ? 1 : type === "*/*" ? 0 : -1;
    if (specificity > found.specificity) found = { weight: quality(parameters), specificity, place };
    place++;
  }
  return found;
}
