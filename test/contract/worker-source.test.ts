import { testTarget } from "./contract.ts";

testTarget("source", "process", "worker");
