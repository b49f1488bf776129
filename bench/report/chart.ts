import { measuredOf, ratio, type Results } from "../results.ts";
import type { StackKey } from "../stacks/stack.ts";

const WIDTH = 760;
const LEFT = 210;
const RIGHT = 110;
const BAR = 14;
const GAP = 3;
const GROUP_GAP = 18;
const TOP = 74;

const series: { key: StackKey; label: string }[] = [
  { key: "phprun", label: "phprun" },
  { key: "fpm-best", label: "nginx + php-fpm at its best" },
  { key: "fpm-deployed", label: "nginx + php-fpm as deployed" },
];

/** Requests per second as bars, each workload in its own scale. Follows the reader's light or dark theme. */
export function chart(results: Results): string {
  let y = TOP;
  const parts: string[] = [];
  for (const result of results.workloads) {
    const bars = series.flatMap(({ key }) => {
      const rate = measuredOf(result, key)?.requestsPerSecond;
      return rate === undefined ? [] : [{ key, rate }];
    });
    if (bars.length === 0) continue;
    const most = Math.max(...bars.map(({ rate }) => rate));
    const height = bars.length * (BAR + GAP) - GAP;
    parts.push(
      `<text class="name" x="${LEFT - 12}" y="${y + height / 2 - 1}">${escape(result.title)}</text>`,
    );
    const factor = ratio(result, "fpm-best");
    const note =
      factor === undefined
        ? ""
        : `${factor.toFixed(2)}× ${result.against === "nginx" ? "nginx" : "fpm at best"}`;
    parts.push(`<text class="note" x="${LEFT - 12}" y="${y + height / 2 + 13}">${note}</text>`);
    for (const { key, rate } of bars) {
      const width = (rate / most) * (WIDTH - LEFT - RIGHT);
      parts.push(
        `<rect class="${key}" x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2"/>`,
      );
      parts.push(
        `<text class="rate" x="${(LEFT + width + 6).toFixed(1)}" y="${y + BAR - 3}">${rate.toLocaleString("en", { maximumFractionDigits: 0 })}</text>`,
      );
      y += BAR + GAP;
    }
    y += GROUP_GAP - GAP;
  }
  return page(
    y + 12,
    parts,
    `${results.conditions.cpu}, ${results.conditions.cpus} CPUs, PHP ${results.conditions.versions["PHP"]}, ${results.conditions.date.slice(0, 10)}`,
  );
}

function page(height: number, parts: readonly string[], caption: string): string {
  let x = LEFT;
  const legend = series.map(({ key, label }) => {
    const at = x;
    x += 34 + label.length * 6.2;
    return `<rect class="${key}" x="${at}" y="44" width="10" height="10" rx="2"/><text class="rate" x="${at + 15}" y="53">${label}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Requests per second of phprun and of nginx with php-fpm">
<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .name { text-anchor: end; font-weight: 600 }
  .note { text-anchor: end; font-size: 11px; fill: #59636e }
  .caption { font-size: 11px; fill: #59636e }
  .rate { font-size: 11px }
  .phprun { fill: #6a4fd0 }
  .fpm-best { fill: #5b8c9e }
  .fpm-deployed { fill: #b4c4cc }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .note, .caption { fill: #9198a1 }
    .phprun { fill: #a48cff }
    .fpm-best { fill: #5f9bb0 }
    .fpm-deployed { fill: #4a5a63 }
  }
</style>
<text class="title" x="16" y="24">Requests per second (longer is better)</text>
<text class="caption" x="${WIDTH - 16}" y="24" text-anchor="end">${escape(caption)}</text>
${legend.join("\n")}
${parts.join("\n")}
</svg>
`;
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
