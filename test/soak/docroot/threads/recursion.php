<?php
/* As deep as it goes, through C and back: PHP's own limit, or the memory limit, has to end it, not the end of the stack. */
require __DIR__ . '/../_seal.php';
function deeper(int $depth): int
{
    return array_sum(array_map(fn (int $depth): int => deeper($depth + 1), [$depth]));
}
try {
    deeper(0);
    $end = 'it ended';
} catch (Error $error) {
    $end = get_class($error);
}
echo sealed($end);
