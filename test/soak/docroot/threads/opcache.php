<?php
/* What an application does to opcache after it has been deployed. */
require __DIR__ . '/../_seal.php';
switch ($_GET['do']) {
    case 'reset':
        opcache_reset();
        break;
    case 'invalidate':
        opcache_invalidate(__DIR__ . '/text.php', true);
        opcache_invalidate(__DIR__ . '/classes/Leaf' . $_GET['n'] % 40 . '.php', true);
        break;
    case 'compile':
        opcache_compile_file(__DIR__ . '/classes/Leaf' . $_GET['n'] % 40 . '.php');
        break;
    case 'status':
        if (!is_array(opcache_get_status())) echo 'no status';
}
echo sealed('done');
