<?php

declare(strict_types=1);

namespace Phprun\Worker\Laravel;

use Illuminate\Database\Connection;
use Illuminate\Foundation\Application;

/** Connections that outlive the request that opened them. */
final class Connections
{
    public function __construct(private readonly Application $app, private readonly bool $disconnect)
    {
    }

    /** What the end of the process did otherwise: nothing that a request has begun stays open, and no lock held. */
    public function settle(): void
    {
        foreach ($this->databases() as $connection) {
            try {
                $this->rollBack($connection);
            } catch (\Throwable) {
                // Whatever state it is in, it is not fit for the next request.
                $connection->disconnect();
            }
            if ($this->disconnect) {
                $connection->disconnect();
            }
        }
    }

    /** A connection that two processes share is of use to neither. They open again when they are used. */
    public function close(): void
    {
        foreach ($this->databases() as $connection) {
            $connection->disconnect();
        }
        $redis = $this->app->resolved('redis') ? $this->app->make('redis') : null;
        if ($redis !== null && \method_exists($redis, 'purge')) {
            foreach (\array_keys($redis->connections() ?? []) as $name) {
                $redis->purge($name);
            }
        }
    }

    private function rollBack(Connection $connection): void
    {
        if ($connection->transactionLevel() > 0) {
            $connection->rollBack(0);
        }
        // One that was begun without Laravel, which does not count it.
        $pdo = $connection->getRawPdo();
        if ($pdo instanceof \PDO && $pdo->inTransaction()) {
            $pdo->rollBack();
        }
    }

    /** @return iterable<Connection> */
    private function databases(): iterable
    {
        return $this->app->resolved('db') ? $this->app->make('db')->getConnections() : [];
    }
}
