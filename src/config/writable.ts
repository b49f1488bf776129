import { accessSync, constants } from "node:fs";

/** May this user make files in a folder? False too when there is no such folder. */
export function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
