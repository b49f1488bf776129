<?php
require __DIR__ . '/_seal.php';
echo sealed('Hello');
