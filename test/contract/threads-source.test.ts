import { testTarget } from "./contract.ts";

testTarget("source", "thread");
