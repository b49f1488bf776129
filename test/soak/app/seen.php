<?php
declare(strict_types=1);

/** What has come with the request, and with the session that it names. */
function own(): array
{
    return [
        'method' => $_SERVER['REQUEST_METHOD'],
        'get' => (object) $_GET,
        'post' => (object) $_POST,
        'cookie' => (object) $_COOKIE,
        'files' => array_values(array_map(
            static fn (array $file): array => [$file['name'], $file['error'], $file['size']],
            $_FILES,
        )),
        'auth' => [$_SERVER['PHP_AUTH_USER'] ?? null, $_SERVER['PHP_AUTH_PW'] ?? null],
        'agent' => $_SERVER['HTTP_USER_AGENT'] ?? null,
        'who' => $_SESSION['who'] ?? null,
        'visits' => $_SESSION['visits'] ?? null,
        'worker' => basename(readlink('/proc/thread-self')),
    ];
}

/** What must be the same at the begin of every request. */
function fresh(): array
{
    $error_handler = set_error_handler(null);
    restore_error_handler();
    $exception_handler = set_exception_handler(null);
    restore_exception_handler();
    return [
        'buffers' => ob_get_level(),
        'status' => http_response_code(),
        'headers' => headers_list(),
        'sent' => headers_sent(),
        'folder' => getcwd(),
        'locale' => setlocale(LC_ALL, '0'),
        'timezone' => date_default_timezone_get(),
        'ini' => array_map('ini_get', [
            'user_agent', 'error_append_string', 'error_prepend_string', 'arg_separator.output', 'error_reporting',
            'session.save_handler', 'session.cookie_domain', 'max_execution_time', 'ignore_user_abort',
        ]),
        'env' => [getenv('PLANTED'), $_ENV['PLANTED'] ?? null],
        'handlers' => [$error_handler !== null, $exception_handler !== null],
        'error' => error_get_last(),
        'strtok' => strtok(' '),
        'umask' => umask(),
        'connection' => [connection_status(), connection_aborted(), ignore_user_abort()],
        'session' => [session_status(), session_id(), isset($_SESSION)],
    ];
}

/** All that a request can get at, for whoever looks for what should not be in it. */
function seen(): array
{
    return [
        'globals' => [$_GET, $_POST, $_COOKIE, $_FILES, $_REQUEST, $_SERVER, $_ENV, $_SESSION ?? null],
        'variables' => array_keys($GLOBALS),
        'input' => substr(file_get_contents('php://input'), 0, 4096),
        'filter' => [
            filter_input(INPUT_GET, 'planted'), filter_input(INPUT_POST, 'planted'), filter_input(INPUT_COOKIE, 'planted'),
            filter_input(INPUT_SERVER, 'PLANTED'), filter_input(INPUT_POST, 'secret'), filter_input(INPUT_COOKIE, 'secret'),
        ],
        'headers' => [getallheaders(), apache_response_headers(), headers_list()],
        'authorization' => base64_decode(substr($_SERVER['HTTP_AUTHORIZATION'] ?? '', 6)),
        'env' => getenv(),
        'session' => [session_id(), session_name(), session_get_cookie_params()],
        'kept input' => is_resource(Kept::$input) ? @stream_get_contents(Kept::$input) : null,
        'kept upload' => Kept::$upload === '' ? null : @file_get_contents(Kept::$upload),
        'is upload' => is_uploaded_file(Kept::$upload),
        // Its own would put its token in.
        'link' => ((int) ($_GET['plant'] ?? 0) & PLANT_REWRITING) === 0 ? '<a href="/next">next</a>' : null,
    ];
}
