<?php
// What `artisan config:cache` and `artisan route:cache` do, for the fixture, which has no artisan: php laravel-caches.php APP

declare(strict_types=1);

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;

$app = require "$argv[1]/bootstrap/app.php";
$app->instance('request', Request::create('http://localhost'));
$app->make(Kernel::class)->bootstrap();
$routes = $app['router']->getRoutes();
foreach ($routes as $route) {
    $route->prepareForSerialization();
}
$export = static fn (mixed $value): string => var_export($value, true);
file_put_contents($app->getCachedRoutesPath(), "<?php\napp('router')->setCompiledRoutes({$export($routes->compile())});\n");
file_put_contents($app->getCachedConfigPath(), "<?php\nreturn {$export($app['config']->all())};\n");
