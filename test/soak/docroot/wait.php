<?php
require __DIR__ . '/_seal.php';
usleep((int) ($_GET['us'] ?? 1000));
echo sealed();
