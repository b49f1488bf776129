<?php

declare(strict_types=1);

namespace Phprun\Worker\Psr;

use Psr\Http\Message\ResponseInterface;
use Psr\Http\Message\StreamInterface;

/** Sends a PSR-7 response through PHP's own header() and echo. */
final class Emitter
{
    private const CHUNK_BYTES = 65536;

    /** @param string $method that of the request: the answer to HEAD has no body */
    public function emit(ResponseInterface $response, string $method = 'GET'): void
    {
        if (\headers_sent($file, $line)) {
            $rule = 'nothing may be sent before its headers';
            throw new \LogicException("Cannot send the response: $rule, received output from $file:$line");
        }
        $this->emitHead($response);
        $status = $response->getStatusCode();
        if ($status < 200 || $status === 204 || $status === 304) {
            return;
        }
        if ($method === 'HEAD') {
            $this->tellLength($response);
            return;
        }
        $this->emitBody($response->getBody());
    }

    private function emitHead(ResponseInterface $response): void
    {
        foreach ($response->getHeaders() as $name => $values) {
            // Cookies that PHP itself has set, that of the session for one, stay.
            $replace = \strcasecmp((string) $name, 'Set-Cookie') !== 0;
            foreach ($values as $value) {
                \header("$name: $value", $replace);
                $replace = false;
            }
        }
        // Last, since header() changes the status when it sees Location or WWW-Authenticate.
        $status = $response->getStatusCode();
        $line = \rtrim("HTTP/{$response->getProtocolVersion()} $status {$response->getReasonPhrase()}");
        \header($line, true, $status);
    }

    private function tellLength(ResponseInterface $response): void
    {
        $length = $response->getBody()->getSize();
        if ($length !== null && !$response->hasHeader('Content-Length')) {
            \header("Content-Length: $length");
        }
    }

    private function emitBody(StreamInterface $body): void
    {
        // A body whose size nobody knows is being made while it is read, and somebody may be waiting for each part.
        $live = $body->getSize() === null;
        if ($body->isSeekable()) {
            $body->rewind();
        }
        if ($live) {
            $this->endBuffers();
        }
        while (!$body->eof() && \connection_status() === \CONNECTION_NORMAL) {
            echo $body->read(self::CHUNK_BYTES);
            if ($live) {
                \flush();
            }
        }
    }

    /** Those that PHP or the application began, output_buffering for one; some do not let themselves be ended. */
    private function endBuffers(): void
    {
        while (\ob_get_level() > 0 && (\ob_get_status()['flags'] & \PHP_OUTPUT_HANDLER_REMOVABLE) !== 0) {
            \ob_end_flush();
        }
    }
}
