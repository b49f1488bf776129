<?php
/* Output that is on its way in more than one place when the script ends. */
require __DIR__ . '/../_seal.php';
$n = (int) ($_GET['n'] ?? 0);
$text = sealed(filler(100 + $n * 300));
register_shutdown_function(function () use ($text): void {
    echo substr($text, 20);
    register_shutdown_function(fn () => file_put_contents('php://memory', 'last of all'));
});
ob_start(fn (string $part): string => strrev($part));
ob_start(fn (string $part): string => str_rot13($part), 64);
ob_start();
echo strrev(str_rot13(substr($text, 0, 20)));
if ($n % 2) ob_end_flush();
$held = new class {
    public function __destruct()
    {
        while (ob_get_level() > 0) ob_end_flush();
    }
};
(function () use (&$held): void {
    $held = null;
    exit;
})();
