<?php
require __DIR__ . '/_seal.php';
function answer(): void
{
    ob_start();
    ob_start(fn (string $text): string => $text);
    echo sealed('exit');
    exit;
}
array_map(fn () => answer(), [1]);
echo 'not reached';
