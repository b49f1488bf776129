<?php
require __DIR__ . '/_seal.php';
$end = hrtime(true) + (int) ($_GET['us'] ?? 100_000) * 1000;
while (hrtime(true) < $end) {
    for ($i = 0, $x = 1; $i < 20_000; $i++) $x = ($x * 31 + $i) % 1_000_003;
}
echo sealed();
