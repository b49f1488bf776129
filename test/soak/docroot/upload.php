<?php
require __DIR__ . '/_seal.php';
$file = $_FILES['file']['tmp_name'] ?? '';
echo sealed('', is_uploaded_file($file) ? file_get_contents($file) : 'no file');
