import { homeOf } from "../../ffi/system.ts";

/** What a login would say of the user a pool runs as; nothing when it is the one who started phprun. */
export function userEnvironment(
  runAs: { readonly name: string; readonly uid: number } | null,
): Record<string, string> {
  if (runAs === null) return {};
  return { HOME: homeOf(runAs.uid) ?? "/", USER: runAs.name, LOGNAME: runAs.name };
}
