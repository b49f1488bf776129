import { statfsSync } from "node:fs";

/** File systems on which inotify says nothing of what others change, by the number that statfs(2) gives. */
const REMOTE: Readonly<Record<number, string>> = {
  0x6969: "NFS",
  0x517b: "SMB",
  0xff534d42: "CIFS",
  0xfe534d42: "SMB",
  0x01021997: "9p",
  0x65735546: "FUSE",
  0x786f4256: "vboxsf",
};

/** The name of the file system if changes may come from another machine, else null. */
export function remoteFileSystem(path: string): string | null {
  try {
    // Bun gives the number signed.
    return REMOTE[statfsSync(path).type >>> 0] ?? null;
  } catch {
    return null;
  }
}
