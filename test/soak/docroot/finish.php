<?php
require __DIR__ . '/_seal.php';
echo sealed('finished');
fastcgi_finish_request();
usleep(2000);
echo 'this goes nowhere';
