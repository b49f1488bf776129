<?php

// Shows paths, settings and the environment of this server: remove it before the server is public.
phpinfo();
