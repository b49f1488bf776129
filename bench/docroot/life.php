<?php
// Which process and thread answers: PID/task/TID.
echo readlink('/proc/thread-self');
