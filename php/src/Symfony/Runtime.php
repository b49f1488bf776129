<?php

declare(strict_types=1);

namespace Phprun\Worker\Symfony;

use Phprun\Worker\Mode;
use Symfony\Component\HttpKernel\HttpKernelInterface;
use Symfony\Component\Runtime\RunnerInterface;
use Symfony\Component\Runtime\SymfonyRuntime;

/**
 * Symfony's own runtime, whose kernels stay for many requests when phprun runs them in worker mode.
 *
 * `APP_RUNTIME=Phprun\Worker\Symfony\Runtime`, and `public/index.php` as the worker script.
 */
class Runtime extends SymfonyRuntime
{
    /** @var array<array-key, mixed> $_SERVER as PHP made it */
    private array $given;

    /** @param array<string, mixed> $options those of SymfonyRuntime */
    public function __construct(array $options = [])
    {
        $this->given = $_SERVER;
        parent::__construct($options);
    }

    public function getRunner(?object $application): RunnerInterface
    {
        if ($application instanceof HttpKernelInterface && Mode::isWorker()) {
            return new Runner($application, $this->added());
        }
        return parent::getRunner($application);
    }

    /**
     * What .env files, this runtime and the script itself have put into $_SERVER: a new request has a new $_SERVER.
     *
     * @return array<array-key, mixed>
     */
    private function added(): array
    {
        $isNew = fn (mixed $value, int|string $name): bool => !\str_starts_with((string) $name, 'HTTP_')
            && (!\array_key_exists($name, $this->given) || $this->given[$name] !== $value);
        return \array_filter($_SERVER, $isNew, \ARRAY_FILTER_USE_BOTH);
    }
}
