/** Slim 3 from Debian, by the PSR-7 loop of php/. */
import { describeApplication } from "./application.ts";

describeApplication({
  name: "slim",
  workerScript: "worker.php",
  needs: { "Slim/App.php": "php-slim", "Nyholm/Psr7/autoload.php": "php-nyholm-psr7" },
});
