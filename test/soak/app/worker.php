<?php
/**
 * An application in worker mode that leaves the token of who has asked in every place that is each request's own, and
 * answers with all that it finds there: `plant` in the query says where to leave it, the path how the request ends.
 */
declare(strict_types=1);

require_once __DIR__ . '/../docroot/_seal.php';
require_once __DIR__ . '/plants.php';
require_once __DIR__ . '/seen.php';
require_once __DIR__ . '/endings.php';

final class Kept
{
    /** The token of the request that runs, or ran last. */
    public static string $now = '';
    /** What an earlier request has held on to, to look at it in a later one. */
    public static mixed $input = null;
    public static string $upload = '';
    /** Runs behind the answer, before the next request is asked for. */
    public static ?Closure $tail = null;
}

/** What is called for a request that is over tells on itself: only with its own may it be silent. */
function tell_if_late(string $token): string
{
    return Kept::$now === $token ? '' : "late $token";
}

/** The session of whoever asks; nobody's is begun without a login. */
function open_session(string $path, string $token): void
{
    if ($path === 'login') {
        session_id(session_create_id("$token-"));
        session_start();
        $_SESSION = ['who' => $_POST['who'], 'visits' => 0];
        return;
    }
    if (!isset($_COOKIE['PHPSESSID'])) {
        return;
    }
    session_start();
    if (isset($_SESSION['who'])) {
        $_SESSION['visits']++;
    }
    if ($path === 'renew') {
        session_regenerate_id(true);
    }
    if ($path === 'logout') {
        $_SESSION = [];
        session_destroy();
    }
}

$sessions = sys_get_temp_dir() . '/sessions';
is_dir($sessions) || @mkdir($sessions);
ini_set('session.save_path', $sessions);

$handler = static function (): void {
    $fresh = isset($_GET['all']) ? fresh() : null;
    Kept::$now = $token = $_GET['t'];
    $path = explode('/', $_SERVER['REQUEST_URI'])[1];
    $plants = (int) ($_GET['plant'] ?? 0);
    plant_before_session($plants, $token);
    open_session($path, $token);
    $answer = own();
    if ($fresh !== null) {
        $answer += ['fresh' => $fresh, 'seen' => seen()];
    }
    // Before anything is planted: what it says is what has come.
    $text = sealed(
        json_encode($answer, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE),
        isset($_FILES['file']) ? file_get_contents($_FILES['file']['tmp_name']) : null,
    );
    plant($plants, $token);
    end_with($path, $text, $token);
};

while (phprun_handle_request($handler)) {
    $tail = Kept::$tail;
    Kept::$tail = null;
    if ($tail !== null) {
        $tail();
    }
}
