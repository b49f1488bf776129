<?php

declare(strict_types=1);

namespace Phprun\Worker\Symfony;

use Phprun\Worker\Loop;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpKernel\HttpKernelInterface;
use Symfony\Component\HttpKernel\KernelInterface;
use Symfony\Component\HttpKernel\TerminableInterface;
use Symfony\Component\Runtime\RunnerInterface;

/** Answers request after request with one kernel. The kernel resets its services itself, before each but the first. */
final class Runner implements RunnerInterface
{
    private readonly ?KernelInterface $root;

    /** @param array<array-key, mixed> $server goes over each request's $_SERVER */
    public function __construct(private readonly HttpKernelInterface $kernel, private readonly array $server = [])
    {
        $this->root = self::innermost($kernel);
    }

    public function run(): int
    {
        // Now and not with the first request: workers are forked from what is there when the loop begins.
        $this->root?->boot();
        \phprun_before_fork($this->closeConnections(...));
        Loop::run($this->serve(...), $this->afterwards(...));
        return 0;
    }

    private function serve(): void
    {
        $_SERVER = $this->server + $_SERVER;
        $request = Request::createFromGlobals();
        $response = $this->kernel->handle($request);
        $response->send();
        if ($this->kernel instanceof TerminableInterface) {
            // Some versions of send() leave this to others.
            \phprun_finish_request();
            $this->kernel->terminate($request, $response);
        }
    }

    private function afterwards(bool $returned): bool
    {
        $this->endTransactions();
        if ($returned) {
            return true;
        }
        if ($this->root === null) {
            return false;
        }
        $this->bootAnew($this->root);
        return true;
    }

    /**
     * exit() runs no finally blocks. The request stays on the kernel's stack, where the next one would find it, and
     * the kernel counts it as still running, so it would never reset its services again. A new container knows of
     * nothing.
     */
    private function bootAnew(KernelInterface $root): void
    {
        $container = $root->getContainer();
        if ($container->has('services_resetter')) {
            // Not all of them go with the container: PHP's error handler has hold of some until the next request.
            $container->get('services_resetter')->reset();
        }
        $root->shutdown();
        \gc_collect_cycles();
        $root->boot();
    }

    /** What the end of the process did otherwise: nothing that a request has begun stays open, and no lock held. */
    private function endTransactions(): void
    {
        foreach ($this->connections() as $connection) {
            try {
                while ($connection->isTransactionActive()) {
                    $connection->rollBack();
                }
            } catch (\Throwable) {
                // Whatever state it is in, it is not fit for the next request.
                $connection->close();
            }
        }
    }

    /** One that two processes share is of use to neither. They open again when they are used. */
    private function closeConnections(): void
    {
        foreach ($this->connections() as $connection) {
            $connection->close();
        }
    }

    /** @return iterable<\Doctrine\DBAL\Connection> Doctrine's, if anybody has asked for it */
    private function connections(): iterable
    {
        $container = $this->root?->getContainer();
        return $container?->initialized('doctrine') === true ? $container->get('doctrine')->getConnections() : [];
    }

    /** The kernel inside wrappers such as HttpCache; null when none of them is one that can boot anew. */
    private static function innermost(HttpKernelInterface $kernel): ?KernelInterface
    {
        while (!$kernel instanceof KernelInterface && \method_exists($kernel, 'getKernel')) {
            $kernel = $kernel->getKernel();
        }
        return $kernel instanceof KernelInterface ? $kernel : null;
    }
}
