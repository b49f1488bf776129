<?php
require __DIR__ . '/_seal.php';
echo sealed(filler((int) ($_GET['bytes'] ?? 100_000)));
