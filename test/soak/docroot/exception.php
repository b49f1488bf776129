<?php
require __DIR__ . '/_seal.php';
set_exception_handler(function (): void {
    http_response_code(500);
    echo sealed('exception');
});
throw new RuntimeException('on purpose');
