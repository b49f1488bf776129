/** Symfony from Debian, by the runtime of php/: one index.php for both modes. */
import { describeApplication } from "./application.ts";

describeApplication({
  name: "symfony",
  workerScript: "public/index.php",
  workerEnv: { APP_RUNTIME: String.raw`Phprun\Worker\Symfony\Runtime` },
  needs: {
    "Doctrine/DBAL/autoload.php": "php-doctrine-dbal",
    "Doctrine/Persistence/autoload.php": "php-doctrine-persistence",
    "Symfony/Bundle/FrameworkBundle/autoload.php": "php-symfony-framework-bundle",
    "Symfony/Component/Runtime/autoload.php": "php-symfony-runtime",
    "Symfony/Component/Validator/autoload.php": "php-symfony-validator",
  },
});
