/** The kinds of application that `phprun init` knows how to run. */
export const KINDS = ["laravel", "symfony", "wordpress", "plain"] as const;
export type Kind = (typeof KINDS)[number];

export const isKind = (text: string): text is Kind => (KINDS as readonly string[]).includes(text);

const TITLES: Readonly<Record<Kind, string>> = {
  laravel: "Laravel",
  symfony: "Symfony",
  wordpress: "WordPress",
  plain: "plain PHP",
};

/** How a kind is called in a sentence. */
export const kindTitle = (kind: Kind): string => TITLES[kind];
