/**
 * Stands in for a front: a host and one worker with the identity given as JSON. Says their pids, or why there are none,
 * and stays until it is killed.
 */
import { PoolMemory } from "../../../ffi/pool-memory.ts";
import { socketPair } from "../../../ffi/system.ts";
import { libphpCandidates } from "../../../src/php/locate.ts";
import { connectFd } from "../../../src/pool/connect-fd.ts";
import { HostProcess } from "../../../src/pool/host-process.ts";
import { Command, type HostOptions } from "../../../src/pool/messages.ts";
import { Spool } from "../../../src/pool/spool.ts";
import { userEnvironment } from "../../../src/system/user-environment.ts";

const given = JSON.parse(process.argv[2] ?? "{}") as Partial<HostOptions>;
const options: HostOptions = {
  libphp: libphpCandidates("auto")[0] ?? "",
  ini: "",
  sapiName: "phprun",
  poolName: "drill",
  jsonPost: false,
  frankenphp: false,
  app: null,
  isolation: "process",
  threadStackBytes: 16 << 20,
  slowLog: false,
  inspectOnly: false,
  runAs: null,
  nice: 0,
  cpuAffinity: [],
  ...given,
};

const memory = new PoolMemory({ slots: 2, workers: 1, requestBytes: 65_536, responseBytes: 65_536 });
const spool = new Spool("/tmp", 4096);
const [, wake] = socketPair();
const [logOurs, log] = socketPair();
const complaints: string[] = [];
await connectFd(logOurs, { data: (_socket, bytes) => void complaints.push(bytes.toString("latin1")) });
const host = await HostProcess.start(
  options,
  { ...process.env, ...userEnvironment(options.runAs) },
  { pool: memory.fd, wake, spool: spool.fd, log },
  {
    line: (text) => complaints.push(text),
    gone: () => say({ gone: true }),
    event: (event) => {
      if (event.kind === "report" && event.result.ok) host.send(Command.spawn, 0, 1);
      else if (event.kind === "report") say(event.result);
      else if (event.kind === "spawned") say({ host: host.pid, worker: event.pid });
    },
  },
);

function say(news: unknown): void {
  console.log(JSON.stringify({ news, complaints }));
}
