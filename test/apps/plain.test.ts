/** No framework: what an application of its own making can expect of worker mode. */
import { describeApplication } from "./application.ts";

describeApplication({
  name: "plain",
  workerScript: "worker.php",
  needs: {},
});
