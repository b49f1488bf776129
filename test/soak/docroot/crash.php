<?php
// A write to where nothing is, as a bug in an extension does.
FFI::cdef('void *memset(void *, int, size_t);')->memset(FFI::cast('void *', 8), 1, 8);
