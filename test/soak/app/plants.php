<?php
declare(strict_types=1);

/** PHP's own, but it tells when it works for another request than its own. */
final class PlantedHandler extends SessionHandler
{
    public function __construct(private readonly string $token)
    {
    }

    public function open(string $path, string $name): bool
    {
        echo tell_if_late($this->token);
        return parent::open($path, $name);
    }

    public function read(string $id): string|false
    {
        echo tell_if_late($this->token);
        return parent::read($id);
    }

    public function write(string $id, string $data): bool
    {
        echo tell_if_late($this->token);
        return parent::write($id, $data);
    }
}

function plant_before_session(int $plants, string $token): void
{
    if (($plants & 1) !== 0) {
        session_set_save_handler(new PlantedHandler($token), true);
        session_set_cookie_params(['domain' => "$token.example"]);
    }
}

const PLANT_REWRITING = 1 << 12;

/** Leaves the token behind wherever the bits of `$plants` say. */
function plant(int $plants, string $token): void
{
    static $kinds = [
        'plant_superglobals', 'plant_environment', 'plant_settings', 'plant_folder', 'plant_language', 'plant_handlers',
        'plant_shutdown', 'plant_header_callback', 'plant_buffers', 'plant_small_things', 'plant_headers', 'plant_rewriting',
        'plant_input', 'plant_tail', 'plant_umask',
    ];
    foreach ($kinds as $i => $kind) {
        if (($plants & (2 << $i)) !== 0) {
            $kind($token);
        }
    }
}

function plant_superglobals(string $token): void
{
    $_GET['planted'] = $_POST['planted'] = $_COOKIE['planted'] = $_FILES['planted'] = $token;
    $_REQUEST['planted'] = $_SERVER['PLANTED'] = $token;
}

function plant_environment(string $token): void
{
    putenv("PLANTED=$token");
    $_ENV['PLANTED'] = $token;
}

function plant_settings(string $token): void
{
    foreach (['user_agent', 'error_append_string', 'error_prepend_string', 'arg_separator.output'] as $name) {
        ini_set($name, $token);
    }
    error_reporting(E_ALL & ~E_DEPRECATED);
}

function plant_folder(string $token): void
{
    chdir(crc32($token) % 2 === 0 ? '/' : sys_get_temp_dir());
}

function plant_language(string $token): void
{
    setlocale(LC_ALL, crc32($token) % 2 === 0 ? 'C.utf8' : 'C');
    date_default_timezone_set(crc32($token) % 2 === 0 ? 'Asia/Tokyo' : 'America/Lima');
}

function plant_handlers(string $token): void
{
    set_error_handler(static function (int $level, string $message) use ($token): bool {
        echo tell_if_late($token);
        return true;
    });
    set_exception_handler(static function () use ($token): void {
        echo "handled $token";
    });
}

function plant_shutdown(string $token): void
{
    register_shutdown_function(static function () use ($token): void {
        echo tell_if_late($token);
    });
}

function plant_header_callback(string $token): void
{
    header_register_callback(static function () use ($token): void {
        header('X-Callback: ' . tell_if_late($token));
    });
}

function plant_buffers(string $token): void
{
    for ($i = 0; $i < 2; $i++) {
        ob_start(static fn (string $text): string => $text . tell_if_late($token));
    }
}

function plant_small_things(string $token): void
{
    strtok("$token $token", ' ');
    @trigger_error($token);
    mt_srand(5);
    set_time_limit(9);
    ignore_user_abort(true);
}

function plant_headers(string $token): void
{
    header("X-Planted: $token");
    setcookie('planted', $token);
    http_response_code(202);
}

function plant_rewriting(string $token): void
{
    output_add_rewrite_var('planted', $token);
}

function plant_input(string $token): void
{
    Kept::$input = fopen('php://input', 'r');
    Kept::$upload = $_FILES['file']['tmp_name'] ?? '';
}

function plant_tail(string $token): void
{
    Kept::$tail = static function () use ($token): void {
        echo "tail $token";
        @header("X-Tail: $token");
        @setcookie('tail', $token);
        ini_set('user_agent', $token);
        putenv("PLANTED=$token");
        chdir('/');
        flush();
    };
}

/** With threads it may be the whole host's (decision 0009). */
function plant_umask(string $token): void
{
    umask(0057);
}
