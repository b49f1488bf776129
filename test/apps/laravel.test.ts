/** Laravel from Debian, by the loop of php/. */
import { describeApplication } from "./application.ts";

describeApplication({
  name: "laravel",
  workerScript: "worker.php",
  leavesNothing: true,
  needs: { "Illuminate/Foundation/Application.php": "php-laravel-framework" },
});
