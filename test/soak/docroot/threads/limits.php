<?php
/* Ends by one of PHP's limits, or by the server's. */
require __DIR__ . '/../_seal.php';
register_shutdown_function(function (): void {
    if ($_GET['by'] !== 'deadline') echo sealed($_GET['by']);
});
switch ($_GET['by']) {
    case 'time':
        set_time_limit(1);
        // no break
    case 'deadline':
        for (;;) usleep(1000);
    case 'memory':
        ini_set('memory_limit', '8M');
        for ($all = [];;) $all[] = str_repeat('x', 100_000);
}
