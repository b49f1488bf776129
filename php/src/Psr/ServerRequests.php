<?php

declare(strict_types=1);

namespace Phprun\Worker\Psr;

use Psr\Http\Message\ServerRequestFactoryInterface;
use Psr\Http\Message\ServerRequestInterface;
use Psr\Http\Message\StreamFactoryInterface;
use Psr\Http\Message\StreamInterface;
use Psr\Http\Message\UploadedFileFactoryInterface;
use Psr\Http\Message\UploadedFileInterface;
use Psr\Http\Message\UriFactoryInterface;
use Psr\Http\Message\UriInterface;

/** Makes a PSR-7 request of what PHP's superglobals say. */
final class ServerRequests
{
    /** PHP fills $_POST for these alone. */
    private const FORMS = ['application/x-www-form-urlencoded', 'multipart/form-data'];

    public function __construct(
        private readonly ServerRequestFactoryInterface $requests,
        private readonly UriFactoryInterface $uris,
        private readonly StreamFactoryInterface $streams,
        private readonly UploadedFileFactoryInterface $uploads,
    ) {
    }

    public function fromGlobals(): ServerRequestInterface
    {
        $method = $_SERVER['REQUEST_METHOD'] ?? 'GET';
        $request = $this->requests->createServerRequest($method, $this->uri(), $_SERVER);
        foreach ($this->headers() as $name => $value) {
            // A name of digits alone has become a number as the key of an array.
            $request = $request->withHeader((string) $name, $value);
        }
        if (\preg_match('#^HTTP/(\d(?:\.\d)?)$#', $_SERVER['SERVER_PROTOCOL'] ?? '', $match) === 1) {
            $request = $request->withProtocolVersion($match[1]);
        }
        return $request
            ->withCookieParams($_COOKIE)
            ->withQueryParams($_GET)
            ->withParsedBody($this->isForm($method) ? $_POST : null)
            ->withUploadedFiles($this->files($_FILES))
            ->withBody($this->body());
    }

    private function uri(): UriInterface
    {
        $https = $_SERVER['HTTPS'] ?? '';
        $scheme = $https !== '' && \strtolower($https) !== 'off' ? 'https' : 'http';
        // The path is set apart from the authority: "//admin" and "*" must not be taken for something else.
        [$path, $query] = \explode('?', $this->target(), 2) + [1 => ''];
        return $this->uris->createUri("$scheme://" . $this->authority())->withPath($path)->withQuery($query);
    }

    private function authority(): string
    {
        $host = $_SERVER['HTTP_HOST'] ?? '';
        if ($host !== '') {
            return $host;
        }
        $name = $_SERVER['SERVER_NAME'] ?? 'localhost';
        return isset($_SERVER['SERVER_PORT']) ? "$name:{$_SERVER['SERVER_PORT']}" : $name;
    }

    /** As the client sent it, without the origin that it may have named (RFC 9112, 3.2.2). */
    private function target(): string
    {
        $target = $_SERVER['REQUEST_URI'] ?? '/';
        return \preg_replace('#^[a-z][a-z0-9+.-]*://[^/?]*#i', '', $target) ?? $target;
    }

    /** @return array<array-key, string> */
    private function headers(): array
    {
        if (\function_exists('getallheaders')) {
            return \getallheaders();
        }
        $headers = [];
        foreach ($_SERVER as $name => $value) {
            if (\str_starts_with((string) $name, 'HTTP_')) {
                $headers[\strtr(\substr($name, 5), '_', '-')] = $value;
            } elseif ($name === 'CONTENT_TYPE' || $name === 'CONTENT_LENGTH') {
                $headers[\strtr($name, '_', '-')] = $value;
            }
        }
        return $headers;
    }

    private function isForm(string $method): bool
    {
        $type = \strtolower(\trim(\explode(';', $_SERVER['CONTENT_TYPE'] ?? '', 2)[0]));
        return $method === 'POST' && \in_array($type, self::FORMS, true);
    }

    private function body(): StreamInterface
    {
        $input = \fopen('php://input', 'rb');
        if ($input === false) {
            throw new \RuntimeException('Cannot read the request: php://input did not open');
        }
        return $this->streams->createStreamFromResource($input);
    }

    /**
     * $_FILES has one tree for each property; PSR-7 wants one tree of files.
     *
     * @param array<array-key, array<string, mixed>> $fields
     * @return array<array-key, mixed>
     */
    private function files(array $fields): array
    {
        return \array_map(
            fn (array $of) => $this->file($of['tmp_name'], $of['size'], $of['error'], $of['name'], $of['type']),
            $fields,
        );
    }

    /** @return UploadedFileInterface|array<array-key, mixed> */
    private function file(mixed $path, mixed $size, mixed $error, mixed $name, mixed $type): UploadedFileInterface|array
    {
        if (\is_array($path)) {
            $files = [];
            foreach ($path as $key => $inner) {
                $files[$key] = $this->file($inner, $size[$key], $error[$key], $name[$key], $type[$key]);
            }
            return $files;
        }
        $stream = $error === \UPLOAD_ERR_OK
            ? $this->streams->createStreamFromFile($path)
            : $this->streams->createStream();
        return $this->uploads->createUploadedFile($stream, $size, $error, $name, $type);
    }
}
