import { testTarget } from "./contract.ts";

testTarget("binary", "thread");
