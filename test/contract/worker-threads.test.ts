import { targets } from "../harness.ts";
import { testTarget } from "./contract.ts";

testTarget(targets.at(-1) ?? "source", "thread", "worker");
