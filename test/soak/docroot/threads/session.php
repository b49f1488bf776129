<?php
/* A number that many requests count up, in a session: no two of them may see the same. */
require __DIR__ . '/../_seal.php';
ini_set('session.use_cookies', '0');
ini_set('session.use_only_cookies', '0');
ini_set('session.cache_limiter', '');
session_save_path(__DIR__ . '/sessions');
session_id('soak' . (int) ($_GET['s'] ?? 0));
session_start();
$_SESSION['count'] = $count = ($_SESSION['count'] ?? 0) + 1;
$_SESSION['text'] = filler(200);
session_write_close();
echo sealed((string) $count);
