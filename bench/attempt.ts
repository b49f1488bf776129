export interface Rejected {
  readonly rejected: string;
}

/** What is measured wrongly is not reported at all; what else there is to measure still is. */
export async function attempt<Found>(
  say: (text: string) => void,
  run: () => Promise<Found>,
): Promise<Found | Rejected> {
  try {
    return await run();
  } catch (error) {
    const rejected = error instanceof Error ? error.message : String(error);
    say(`  ${rejected}`);
    return { rejected };
  }
}
