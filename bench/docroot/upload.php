<?php
$file = $_FILES['file'] ?? ['error' => 'no file', 'tmp_name' => ''];
if ($file['error'] !== UPLOAD_ERR_OK || !is_uploaded_file($file['tmp_name'])) {
    http_response_code(500);
    exit("error {$file['error']}");
}
echo $file['size'], ' ', hash_file('crc32b', $file['tmp_name']);
