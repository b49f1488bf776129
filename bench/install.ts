import { existsSync, rmSync, writeFileSync } from "node:fs";

const policyFile = "/usr/sbin/policy-rc.d";

/** Installs the Debian packages that are missing, without starting any service of theirs. */
export async function installMissing(packages: readonly string[]): Promise<void> {
  const missing = packages.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  if (Bun.which("apt-get") === null) {
    throw new Error(
      `Cannot install ${missing.join(", ")}: this is not a Debian system. Install them yourself.`,
    );
  }
  const asRoot = process.getuid?.() === 0 ? [] : ["sudo", "--"];
  console.log(`Installing ${missing.join(", ")}`);
  // Debian starts a service when it is installed, unless this file says 101. Only root can write it.
  const ours = asRoot.length === 0 && !existsSync(policyFile);
  if (ours) writeFileSync(policyFile, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    await run([...asRoot, "apt-get", "update", "-qq"]);
    const quietly = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive"];
    const install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", ...missing];
    await run([...asRoot, ...quietly, ...install]);
  } finally {
    if (ours) rmSync(policyFile, { force: true });
  }
}

function isInstalled(name: string): boolean {
  const query = Bun.spawnSync(["dpkg-query", "-W", "-f=${db:Status-Status}", name], { stderr: "ignore" });
  return query.stdout.toString() === "installed";
}

async function run(command: string[]): Promise<void> {
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "pipe"] });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) === 0) return;
  throw new Error(
    `Cannot install packages: ${command.join(" ")} failed:\n${`${output}${errors}`.slice(-2000)}`,
  );
}
